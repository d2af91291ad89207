// Takes the link's token out of the address, asks whose it is, and spends it when the person presses the button; never
// by itself.
"use strict";

const part = (id) => document.getElementById(id);
const notes = ["incomplete", "no-answer", "refused"];
const button = part("confirm");
let token = null;
let seen = null;

function show(note, text) {
  for (const other of notes) part(other).hidden = other !== note;
  if (text) part(note).textContent = text;
}

function showLink(link) {
  part("looking").hidden = true;
  part("other").hidden = !link || link.recognised;
  part("as").hidden = !link;
  part("address").textContent = link ? link.address : "";
  const leads = part("leads");
  leads.hidden = !link?.next;
  leads.textContent = link?.next?.text ?? "";
  leads.classList.toggle("note", Boolean(link?.next?.foreign));
  leads.classList.toggle("soon", Boolean(link?.next?.foreign));
}

// What the server says of the link; null where it refused, which the page then tells, or where another link is asked
// about meanwhile.
async function ask(path) {
  const asked = token;
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ token: asked }),
  });
  if (answer.status >= 500) throw new Error("no answer");
  const body = await answer.json();
  if (asked !== token) return null;
  if (answer.ok) return body;
  token = null;
  showLink(null);
  part("ready").hidden = true;
  part("again").hidden = false;
  show("refused", body.detail);
  return null;
}

async function look() {
  show(null);
  part("looking").hidden = false;
  try {
    const link = await ask("/api/auth/link");
    if (!link) return;
    seen = link;
    showLink(link);
    part("ready").hidden = false;
  } catch {
    showLink(null);
    show("no-answer");
    part("ready").hidden = false;
  }
}

async function spend() {
  show(null);
  try {
    if (await ask("/api/auth/verify")) location.replace(seen.next?.url ?? "/");
  } catch {
    show("no-answer");
  }
}

async function press() {
  button.setAttribute("aria-busy", "true");
  button.disabled = true;
  // Nobody signs in before they have been told as whom.
  await (seen ? spend() : look());
  button.removeAttribute("aria-busy");
  button.disabled = false;
}

function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (location.hash) history.replaceState(null, "", location.pathname);
  token = found || token;
  seen = null;
  part("ready").hidden = true;
  part("again").hidden = Boolean(token);
  showLink(null);
  if (token) look();
  else show("incomplete");
}

button.addEventListener("click", press);
// Another link opened in the same tab changes the fragment alone.
window.addEventListener("hashchange", () => {
  if (location.hash) takeToken();
});
takeToken();
