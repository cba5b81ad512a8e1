"use strict";
// The values of a chart under the pointer, read out below it. The curves themselves need no script.

for (const chart of document.querySelectorAll("svg.chart")) {
  const { box, x: axis, curves } = JSON.parse(chart.dataset.curves);
  const [left, right] = box;
  const caption = chart.parentElement.querySelector("figcaption");
  const hair = chart.querySelector(".hair");

  const nearest = (points, at) => points.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a));

  chart.addEventListener("pointermove", (event) => {
    const place = chart.getBoundingClientRect();
    const at = ((event.clientX - place.left) / place.width) * chart.viewBox.baseVal.width;
    const found = Object.entries(curves).map(([name, points]) => [name, nearest(points, at)]);
    const [px, x] = found[0][1];
    if (at < left - 10 || at > right + 10) return leave();
    hair.setAttribute("x1", px);
    hair.setAttribute("x2", px);
    hair.setAttribute("visibility", "visible");
    const one = found.length === 1;
    caption.textContent = `${axis} ${x}: ` + found.map(([name, p]) => (one ? `${p[2]}` : `${name} ${p[2]}`)).join(", ");
  });
  const leave = () => {
    hair.setAttribute("visibility", "hidden");
    caption.textContent = "";
  };
  chart.addEventListener("pointerleave", leave);
}
