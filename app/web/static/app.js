// What the pages' own requests do when the server does not answer: say so, and ask again.
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
  if (event.detail.shouldSwap) connection.hidden = true;
});
// A page that comes back from the browser's memory follows nothing any more.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
