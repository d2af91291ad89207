// Asks how the link stands that was asked for here, shows what belongs to that, and goes on once somebody has signed in
// in this browser. Each answer says when to ask again; a tab that nobody looks at asks when somebody does.
"use strict";

const waiting = document.getElementById("waiting");
const UNREACHABLE_SECONDS = 10;
let timer = null;
let asking = false;

function show(state) {
  for (const part of waiting.querySelectorAll("[data-states]")) {
    part.hidden = !part.dataset.states.split(" ").includes(state);
  }
}

function askIn(seconds) {
  clearTimeout(timer);
  timer = setTimeout(ask, seconds * 1000);
}

async function ask() {
  if (document.hidden || asking) return;
  asking = true;
  try {
    const answer = await fetch("/check-mail/status", { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error("no answer");
    const { state, again } = await answer.json();
    if (state === "signed_in") return location.replace(waiting.dataset.next);
    show(state);
    if (again !== null) askIn(again);
  } catch {
    askIn(UNREACHABLE_SECONDS);
  } finally {
    asking = false;
  }
}

document.addEventListener("visibilitychange", ask);
// A page that comes back from the browser's memory may be old.
window.addEventListener("pageshow", ask);
