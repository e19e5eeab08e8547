// Follows a simulation or an evaluation while it runs: the bar every second, tables and figures with the page when it ends.
"use strict";

const section = document.querySelector("[data-progress]");
const bar = section.querySelector("progress");
const words = section.querySelector("[data-words]");
const first = !document.querySelector("[data-live]");
const unit = section.dataset.unit || "decisions";
const numbers = new Intl.NumberFormat("en");
const EVERY = 1000;
const REDRAWN = 3;
let asked = 0;

function length(seconds) {
  if (seconds >= 120) return `${Math.round(seconds / 60)} minutes`;
  return `${Math.max(1, Math.round(seconds))} seconds`;
}

function tell(run) {
  bar.value = run.share;
  if (run.state === "queued") {
    words.textContent = "Waiting for its turn.";
    return;
  }
  const left = run.left === null ? "" : `, ${length(run.left)} left`;
  words.textContent = `${numbers.format(run.done)} of ${numbers.format(run.total)} ${unit}${left}.`;
}

async function look() {
  try {
    const answer = await fetch(section.dataset.progress);
    if (answer.status === 401 || answer.status === 404) {
      location.reload();
      return;
    }
    const run = await answer.json();
    tell(run);
    if (!run.alive || (first && run.done > 0)) {
      location.reload();
      return;
    }
    asked += 1;
    if (asked % REDRAWN === 0) document.dispatchEvent(new Event("console:changed"));
  } catch {
    words.textContent = "The service does not answer; trying again.";
  }
  setTimeout(look, EVERY);
}

setTimeout(look, EVERY);
