"use strict";
// Shows the values of a chart at the pointer below it. The curves are drawn without JavaScript.

for (const chart of document.querySelectorAll("svg.chart")) {
  const { box, x: axis, curves } = JSON.parse(chart.dataset.curves);
  const [left, right] = box;
  const caption = chart.parentElement.querySelector("figcaption");
  const hair = chart.querySelector(".hair");

  const nearest = (points, at) => points.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a));

  chart.addEventListener("pointermove", (event) => {
    const place = chart.getBoundingClientRect();
    const at = ((event.clientX - place.left) / place.width) * chart.viewBox.baseVal.width;
    const values = Object.entries(curves).map(([name, points]) => [name, nearest(points, at)]);
    const [px, x] = values[0][1];
    if (at < left - 10 || at > right + 10) return leave();
    hair.setAttribute("x1", px);
    hair.setAttribute("x2", px);
    hair.setAttribute("visibility", "visible");
    const single = values.length === 1;
    caption.textContent = `${axis} ${x}: ` + values.map(([name, p]) => (single ? `${p[2]}` : `${name} ${p[2]}`)).join(", ");
  });
  const leave = () => {
    hair.setAttribute("visibility", "hidden");
    caption.textContent = "";
  };
  chart.addEventListener("pointerleave", leave);
}
