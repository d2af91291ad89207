// Takes the link's token out of the address, and spends it when the person presses the button; never by itself.
"use strict";

const ready = document.getElementById("ready");
const button = document.getElementById("confirm");
const again = document.getElementById("again");
const notes = ["incomplete", "no-answer", "refused"].map((id) => document.getElementById(id));
let token = null;

function show(note, text) {
  for (const other of notes) other.hidden = other.id !== note;
  if (text) document.getElementById(note).textContent = text;
}

function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (location.hash) history.replaceState(null, "", location.pathname);
  token = found || token;
  ready.hidden = !token;
  again.hidden = Boolean(token);
  show(token ? null : "incomplete");
}

async function spend() {
  button.setAttribute("aria-busy", "true");
  button.disabled = true;
  show(null);
  try {
    const answer = await fetch("/api/auth/verify", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ token }),
    });
    if (answer.ok) {
      location.replace(ready.dataset.next);
      return;
    }
    if (answer.status >= 500) throw new Error("no answer");
    const problem = await answer.json();
    token = null;
    ready.hidden = true;
    again.hidden = false;
    show("refused", problem.detail);
  } catch {
    show("no-answer");
  }
  button.removeAttribute("aria-busy");
  button.disabled = false;
}

button.addEventListener("click", spend);
// Another link opened in the same tab changes the fragment alone.
window.addEventListener("hashchange", () => {
  if (location.hash) takeToken();
});
takeToken();
