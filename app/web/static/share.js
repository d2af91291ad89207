// Takes a share link's token out of the address, keeps it while the person signs in, and accepts when they press the
// button; never by itself.
"use strict";

const KEY = "spawner-share";
const KEPT_MS = 15 * 60 * 1000;
const ready = document.getElementById("ready");
const button = document.getElementById("accept");
const notes = ["incomplete", "no-answer", "refused"].map((id) => document.getElementById(id));
let token = null;

function show(note, text) {
  for (const other of notes) other.hidden = other.id !== note;
  if (text) document.getElementById(note).textContent = text;
}

function kept() {
  try {
    const { token, at } = JSON.parse(localStorage.getItem(KEY)) ?? {};
    return Date.now() - at < KEPT_MS ? token : null;
  } catch {
    return null;
  }
}

function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (location.hash) history.replaceState(null, "", location.pathname);
  token = found || token || kept();
  localStorage.removeItem(KEY);
  if (token && !button) localStorage.setItem(KEY, JSON.stringify({ token, at: Date.now() }));
  ready.hidden = !token;
  show(token ? null : "incomplete");
}

async function accept() {
  button.setAttribute("aria-busy", "true");
  button.disabled = true;
  show(null);
  try {
    const answer = await fetch("/api/shares/accept", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ token }),
    });
    if (answer.status >= 500) throw new Error("no answer");
    const body = await answer.json();
    if (answer.ok) {
      location.replace(body.service_url);
      return;
    }
    ready.hidden = true;
    show("refused", body.detail);
  } catch {
    show("no-answer");
  }
  button.removeAttribute("aria-busy");
  button.disabled = false;
}

button?.addEventListener("click", accept);
// Another link opened in the same tab changes the fragment alone.
window.addEventListener("hashchange", () => {
  if (location.hash) takeToken();
});
takeToken();
