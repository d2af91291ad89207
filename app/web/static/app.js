// What stays right while parts of a page are replaced: the focus, and the word when the server does not answer.
"use strict";

const AGAIN_MS = 2000;
const connection = document.getElementById("connection");

function failed(event) {
  const element = event.detail.elt;
  connection.hidden = false;
  if (!element.hasAttribute("data-follow")) return;
  setTimeout(() => {
    if (element.isConnected) htmx.trigger(element, "retry");
  }, AGAIN_MS);
}

document.body.addEventListener("htmx:sendError", failed);
document.body.addEventListener("htmx:responseError", failed);
document.body.addEventListener("htmx:beforeSwap", (event) => {
  const { shouldSwap, target } = event.detail;
  if (!shouldSwap) return;
  connection.hidden = true;
  // htmx moves the focus to the new element of the same id: whoever pressed a button stays with the card's main part.
  const main = target.querySelector("[id^='main-']");
  if (main && target.contains(document.activeElement)) document.activeElement.id = main.id;
});
// What a card shows may be old when somebody comes back to its tab. An open question stays open.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  for (const card of document.querySelectorAll("[data-rests]")) {
    if (!card.querySelector("details[open]")) htmx.trigger(card, "look");
  }
});
// A page that comes back from the browser's memory follows nothing any more.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
