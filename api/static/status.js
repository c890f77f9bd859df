"use strict";
// Keeps the table fresh without reloading the page, so that the filter, the scroll and the focus stay.
const fleet = document.getElementById("fleet");
const button = document.getElementById("check-now");
const query = new URLSearchParams({ fragment: "true", lang: fleet.dataset.lang, state: fleet.dataset.state });

async function refresh() {
  if (document.hidden || fleet.contains(document.activeElement)) return;
  try {
    const answer = await fetch(`/status?${query}`);
    if (answer.ok) fleet.innerHTML = await answer.text();
  } catch {
    // The daemon is being restarted: the next round will find it.
  }
}

button.addEventListener("click", async () => {
  button.disabled = true;
  try {
    const answer = await fetch("/check/all?wait=10", { method: "POST" });
    if (answer.ok) {
      await refresh();
    } else {
      // Whoever may only look is told so; a button that does nothing would be a lie.
      const problem = await answer.json().catch(() => ({}));
      button.title = `${answer.status}: ${problem.detail || answer.statusText}`;
      button.textContent = button.title;
    }
  } finally {
    button.disabled = false;
  }
});

setInterval(refresh, 2000);
