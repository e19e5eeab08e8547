// Draws the figures of a page: each comes as JSON from our own route, and takes the colours of the page.
"use strict";

const places = [...document.querySelectorAll("[data-figure]")];
const dark = matchMedia("(prefers-color-scheme: dark)");
const drawn = new Map();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function dressed(layout) {
  const axis = { gridcolor: colour("grid"), zerolinecolor: colour("line"), linecolor: colour("line") };
  const font = { color: colour("soft"), family: getComputedStyle(document.body).fontFamily, size: 12 };
  const label = { bgcolor: colour("panel"), bordercolor: colour("line"), font: { ...font, color: colour("ink") } };
  return {
    ...layout,
    font,
    margin: { t: 8, r: 8, b: 44, l: 48 },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", traceorder: "normal" },
    hoverlabel: label,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("soft"), activecolor: colour("ink") },
    xaxis: { ...layout.xaxis, ...axis },
    yaxis: { ...layout.yaxis, ...axis },
  };
}

function draw(place, figure) {
  const empty = !figure || !figure.data.some((trace) => (trace.x || []).length);
  place.classList.toggle("none", empty);
  if (empty) return;
  const options = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };
  Plotly.react(place, figure.data, dressed(figure.layout), options);
}

function lost(place, why) {
  place.classList.add("lost");
  place.dataset.why = why;
}

async function read(source) {
  const answer = await fetch(source, { headers: { accept: "application/json" } });
  if (answer.status === 401) throw new Error("Your log-in has ended: reload the page");
  if (!answer.ok) throw new Error("This could not be read: reload the page");
  return answer.json();
}

async function drawAll() {
  const sources = new Set(places.map((place) => place.dataset.source));
  await Promise.all(
    [...sources].map(async (source) => {
      const mine = places.filter((place) => place.dataset.source === source);
      try {
        const figures = await read(source);
        for (const place of mine) {
          drawn.set(place, figures[place.dataset.figure]);
          draw(place, drawn.get(place));
        }
      } catch (error) {
        for (const place of mine) if (!drawn.has(place)) lost(place, error.message);
      }
    }),
  );
}

dark.addEventListener("change", () => drawn.forEach((figure, place) => draw(place, figure)));
document.addEventListener("console:changed", drawAll);
drawAll();
