// Shows the page anew as soon as what it did not wait for is there.
"use strict";

const waiting = document.querySelector("[data-ready]");

async function look() {
  const answer = await fetch(waiting.dataset.ready);
  if (answer.ok || answer.status === 401 || answer.status === 404) location.reload();
  else throw new Error(answer.statusText);
}

look().catch(() => {
  waiting.textContent = "The service could not make this: reload the page.";
});
