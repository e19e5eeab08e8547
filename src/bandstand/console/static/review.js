// Keys of the review: J and K go from turn to turn, A and the digits press the button that names them.
"use strict";

const list = document.querySelector("[data-at]");
const turns = list ? [...list.querySelectorAll("[data-turn]")] : [];
let at = list ? Number(list.dataset.at) : 0;

function go(to) {
  at = Math.max(0, Math.min(turns.length - 1, to));
  turns[at].focus({ preventScroll: true });
  turns[at].scrollIntoView({ block: "center" });
}

function press(key) {
  const button = turns[at].querySelector(`[data-key="${key}"]`);
  if (button) button.click();
}

document.addEventListener("keydown", (event) => {
  const busy = event.target.closest("input, select, textarea");
  if (busy || event.ctrlKey || event.metaKey || event.altKey || !turns.length) return;
  const key = event.key.toLowerCase();
  if (key === "j") go(at + 1);
  else if (key === "k") go(at - 1);
  else if (key === "a" || /^[1-9]$/.test(key)) press(key);
  else return;
  event.preventDefault();
});

turns.forEach((turn, place) => turn.addEventListener("focusin", () => { at = place; }));
if (turns.length) go(at);
