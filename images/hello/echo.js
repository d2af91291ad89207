"use strict";

const form = document.getElementById("echo");
const [text, button, output] = [form.querySelector("input"), form.querySelector("button"), form.querySelector("output")];
const address = new URL("ws", document.baseURI);
address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
const socket = new WebSocket(address);

socket.onopen = () => {
  button.disabled = false;
  output.textContent = form.dataset.open;
};
socket.onmessage = (message) => {
  output.textContent = "← " + message.data;
};
socket.onclose = () => {
  button.disabled = true;
  output.textContent = form.dataset.closed;
};
form.addEventListener("submit", (event) => {
  event.preventDefault();
  socket.send(text.value);
});
