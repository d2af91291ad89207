// Sends the code from the mail when the person presses the button.
"use strict";

const form = document.getElementById("code-form");
const field = document.getElementById("code");
const button = document.getElementById("code-button");
const wrong = document.getElementById("code-error");

function complain(text) {
  wrong.textContent = text;
  if (!text) return field.removeAttribute("aria-invalid");
  field.setAttribute("aria-invalid", "true");
  field.focus();
}

async function send(event) {
  event.preventDefault();
  if (!field.value.trim()) return complain(wrong.dataset.empty);
  complain("");
  button.setAttribute("aria-busy", "true");
  button.disabled = true;
  try {
    const answer = await fetch("/api/auth/verify-code", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ code: field.value }),
    });
    if (answer.ok) {
      location.replace(form.dataset.next);
      return;
    }
    if (answer.status >= 500) throw new Error("no answer");
    complain((await answer.json()).detail);
  } catch {
    complain(wrong.dataset.noAnswer);
  }
  button.removeAttribute("aria-busy");
  button.disabled = false;
}

form.addEventListener("submit", send);
form.hidden = false;
