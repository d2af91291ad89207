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
  const { shouldSwap, serverResponse, target } = event.detail;
  if (!shouldSwap) return;
  connection.hidden = true;
  // htmx moves the focus to the new element of the same id; where there is none, it stays with the card's main part.
  const main = target.querySelector("[id^='main-']");
  const held = document.activeElement;
  if (!main || !target.contains(held)) return;
  if (!held.id || !serverResponse.includes(`id="${held.id}"`)) held.id = main.id;
});
// What stands behind `#` in the address goes along to where an answer leads, as with any redirect.
document.body.addEventListener("htmx:beforeOnLoad", (event) => {
  const to = event.detail.xhr.getResponseHeader("HX-Redirect");
  if (!to || !location.hash) return;
  event.preventDefault();
  const there = new URL(to + location.hash, location.href).href;
  // To go to the very address that is shown would load nothing.
  if (there === location.href) location.reload();
  else location.assign(there);
});
// A card at rest looks by itself only where somebody sees it, and an open question stays open.
document.body.addEventListener("htmx:beforeRequest", (event) => {
  const card = event.detail.elt;
  if (!card.hasAttribute("data-rests")) return;
  if (document.hidden || card.querySelector("details[open]")) event.preventDefault();
});
// What a card shows may be old when somebody comes back to its tab.
document.addEventListener("visibilitychange", () => {
  for (const card of document.querySelectorAll("[data-rests]")) htmx.trigger(card, "look");
});
// A page that comes back from the browser's memory follows nothing any more.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
