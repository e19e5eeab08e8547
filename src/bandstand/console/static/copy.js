// Copies what a link leads to; where a browser does not let it, the link leads there.
"use strict";

for (const link of document.querySelectorAll("a[data-copy]")) {
  const words = link.textContent;
  link.addEventListener("click", async (event) => {
    if (!navigator.clipboard) return;
    event.preventDefault();
    try {
      const answer = await fetch(link.href, { headers: { accept: "application/json" } });
      if (!answer.ok) throw new Error(answer.statusText);
      await navigator.clipboard.writeText(JSON.stringify(await answer.json(), null, 2));
      link.textContent = "Copied";
      setTimeout(() => (link.textContent = words), 2000);
    } catch {
      location.assign(link.href);
    }
  });
}
