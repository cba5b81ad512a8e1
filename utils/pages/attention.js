"use strict";
// Computes the map of the pixel under the cross from the stored weights of each pass. models/cca/maps.py does the same
// in Python; utils/pages/attention.py stores the weights.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const [H, W] = data.grid; // cells of the attention map
const [height, width] = data.size; // pixels of the image
const R = data.passes.length;

async function unpack(part) {
  const bytes = Uint8Array.from(atob(part.deflate), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// ------------------------------------------------------------------------------------------------------- attention

let passes = []; // {codes: H*W rows of H + W, scale: 1 / sum of the squares of each row}
let label; // predicted class of each pixel

function prepare(codes) {
  const scale = new Float64Array(H * W);
  for (let i = 0; i < H * W; i++) {
    let sum = 0;
    for (let j = i * (H + W), end = j + H + W; j < end; j++) sum += codes[j] * codes[j];
    scale[i] = 1 / sum;
  }
  return { codes, scale };
}

// One pass: the weight of each pixel is distributed over its column and its row.
function distribute(weights, { codes, scale }) {
  const out = new Float64Array(H * W);
  for (let y = 0; y < H; y++) {
    for (let x = 0; x < W; x++) {
      const i = y * W + x;
      if (weights[i] === 0) continue;
      const share = weights[i] * scale[i], first = i * (H + W);
      for (let j = 0; j < H; j++) out[j * W + x] += share * codes[first + j] * codes[first + j];
      for (let j = 0; j < W; j++) out[y * W + j] += share * codes[first + H + j] * codes[first + H + j];
    }
  }
  return out;
}

function attentionMap(y, x, r) {
  let weights = new Float64Array(H * W);
  weights[y * W + x] = 1;
  for (let pass = r - 1; pass >= 0; pass--) weights = distribute(weights, passes[pass]);
  return weights;
}

// The path to `target` with the largest product of weights: one step for each pass.
function strongestPath(y, x, target, r) {
  let best = new Float64Array(H * W);
  best[y * W + x] = 1;
  const from = [];
  for (let pass = r - 1; pass >= 0; pass--) {
    const { codes, scale } = passes[pass], next = new Float64Array(H * W), origin = new Int32Array(H * W).fill(-1);
    for (let i = 0; i < H * W; i++) {
      if (best[i] === 0) continue;
      const row = i - (i % W), column = i % W;
      for (let j = 0; j < H + W; j++) {
        const code = codes[i * (H + W) + j], to = j < H ? j * W + column : row + j - H;
        const value = best[i] * scale[i] * code * code;
        if (value > next[to]) {
          next[to] = value;
          origin[to] = i;
        }
      }
    }
    from.push(origin);
    best = next;
  }
  const path = [target];
  for (const origin of from.reverse()) {
    if (origin[path[0]] < 0) return [y * W + x, target];
    path.unshift(origin[path[0]]);
  }
  return path.filter((cell, k) => k === 0 || cell !== path[k - 1]);
}

// ----------------------------------------------------------------------------------- pixels and cells

// Corner cells lie on corner pixels (align_corners), as where the network resizes its logits to the image.
const toCell = (pixel, pixels, cells) => (pixels > 1 ? Math.round((pixel * (cells - 1)) / (pixels - 1)) : 0);
const toPixel = (cell, pixels, cells) => (cells > 1 ? (cell * (pixels - 1)) / (cells - 1) : (pixels - 1) / 2);
const cellLabel = (cell) =>
  label[Math.round(toPixel((cell / W) | 0, height, H)) * width + Math.round(toPixel(cell % W, width, W))];
const className = (value) => data.names[value] ?? `class ${value}`;
const classColour = (value) => `rgb(${(data.palette[value] ?? [128, 128, 128]).join(" ")})`;

function chip(value) {
  const mark = document.createElement("span");
  mark.className = "chip";
  mark.style.background = classColour(value);
  return mark;
}

// -------------------------------------------------------------------------------------------------------- drawing

const state = { x: data.point[0], y: data.point[1], r: R, maps: [], ms: 0, path: [] };
const percent = (share) => (100 * share >= 0.995 ? (100 * share).toFixed(1) : (100 * share).toPrecision(2)) + " %";

function paint(canvas, map, top) {
  const pixels = new ImageData(W, H);
  for (let i = 0; i < H * W; i++) {
    const colour = data.heat[Math.round(255 * Math.sqrt(Math.min(map[i] / top, 1)))];
    pixels.data.set([colour[0], colour[1], colour[2], 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

// The canvas is stretched so that the middle of its corner cells lies on the corner pixels of the image.
function stretch(canvas) {
  const place = (cells, pixels) => {
    const cell = cells > 1 ? (pixels - 1) / (cells - 1) : pixels;
    return [(100 * (0.5 - cell / 2)) / pixels, (100 * cell * cells) / pixels];
  };
  const [left, wide] = place(W, width), [top, tall] = place(H, height);
  Object.assign(canvas.style, { left: `${left}%`, width: `${wide}%`, top: `${top}%`, height: `${tall}%` });
}

function compute() {
  const y = toCell(state.y, height, H), x = toCell(state.x, width, W);
  const start = performance.now();
  state.maps = Array.from({ length: R }, (_, k) => attentionMap(y, x, k + 1));
  state.ms = performance.now() - start;
  state.cell = y * W + x;
}

function draw() {
  const map = state.maps[state.r - 1];
  const bright = 2 ** $("bright").value; // weights above 1 / bright of the largest are drawn like the largest
  const tops = state.maps.map((each) => each.reduce((a, b) => Math.max(a, b), 0) / bright);
  const top = tops[state.r - 1];
  paint($("map"), map, top);
  state.maps.forEach((each, k) => paint(thumbs[k].querySelector("canvas"), each, tops[k]));
  thumbs.forEach((thumb, k) => thumb.setAttribute("aria-pressed", String(k + 1 === state.r)));

  let target = -1;
  for (let i = 0; i < H * W; i++) if (i !== state.cell && (target < 0 || map[i] > map[target])) target = i;
  const y = (state.cell / W) | 0, x = state.cell % W;
  state.path = target < 0 ? [] : strongestPath(y, x, target, state.r);

  const arm = 0.022 * Math.max(width, height);
  const place = (cell) => [toPixel(cell % W, width, W) + 0.5, toPixel((cell / W) | 0, height, H) + 0.5];
  const [cx, cy] = [state.x + 0.5, state.y + 0.5];
  const cross = `M${cx - arm} ${cy}H${cx + arm}M${cx} ${cy - arm}V${cy + arm}`;
  const shown = $("path").checked && state.path.length > 1;
  const line = shown ? "M" + state.path.map(place).map((p) => p.join(" ")).join("L") : "";
  for (const group of document.querySelectorAll("#marks g")) {
    group.querySelector(".cross").setAttribute("d", cross);
    group.querySelector(".path").setAttribute("d", line);
  }
  const circle = document.querySelector("#marks circle");
  const [tx, ty] = shown ? place(target) : [0, 0];
  circle.setAttribute("cx", tx);
  circle.setAttribute("cy", ty);
  circle.setAttribute("r", shown ? arm * 0.45 : 0);

  const here = label[state.y * width + state.x];
  const most = target < 0 ? "" : `; largest weight ${percent(map[target])}, at ${className(cellLabel(target))}`;
  $("cross").replaceChildren("Cross at ", `${state.x}, ${state.y}: `, chip(here), `${className(here)}${most}`);
  $("time").textContent = `${R} map${R > 1 ? "s" : ""} of ${W} × ${H} computed in ${state.ms < 0.1 ? "less than 0.1" : state.ms.toFixed(1)} ms`;
  $("passes").value = state.r;
  $("passes").setAttribute("aria-valuetext", `R = ${state.r}`);
  $("passes-value").textContent = `R = ${state.r}`;
  drawShares(map);
  drawTicks(top, bright);
}

function drawShares(map) {
  const shares = new Map();
  for (let i = 0; i < H * W; i++) shares.set(cellLabel(i), (shares.get(cellLabel(i)) ?? 0) + map[i]);
  const rows = [...shares].filter(([, share]) => share >= 0.001).sort((a, b) => b[1] - a[1]);
  $("shares").replaceChildren(
    ...rows.slice(0, 12).map(([value, share]) => {
      const row = document.createElement("div"), name = document.createElement("span");
      const bar = document.createElement("div"), fill = document.createElement("i"), text = document.createElement("span");
      row.className = "share";
      name.append(chip(value), className(value));
      fill.style.width = `${100 * share}%`;
      text.className = "number";
      text.textContent = percent(share);
      bar.append(fill);
      row.append(name, bar, text);
      return row;
    })
  );
}

function drawTicks(top, bright) {
  $("ticks").replaceChildren(
    ...[0, 0.5, 1].map((level) => {
      const tick = document.createElement("span");
      tick.style.left = `${100 * level}%`;
      tick.textContent = level ? (level === 1 && bright > 1 ? "≥ " : "") + percent(top * level * level) : "0";
      return tick;
    })
  );
}

function update(options = {}) {
  document.querySelector("main").classList.toggle("smooth", $("smooth").checked);
  const opacity = $("opacity").value / 100; // 0: the image alone, 1: the map alone
  $("stage").style.setProperty("--light", 1 - opacity);
  $("map").style.opacity = Math.min(2 * opacity, 1);
  $("opacity-value").textContent = `${$("opacity").value} %`;
  $("bright-value").textContent = `× ${2 ** $("bright").value}`;
  $("classes").hidden = !$("predicted").checked;
  if (options.compute) compute();
  draw();
}

// ----------------------------------------------------------------------------------------------------------- pointer and keys

function moveTo(x, y) {
  state.x = Math.min(Math.max(Math.round(x), 0), width - 1);
  state.y = Math.min(Math.max(Math.round(y), 0), height - 1);
  update({ compute: true });
}

function pixelUnder(event) {
  const box = $("stage").getBoundingClientRect();
  const at = (position, pixels) => Math.min(Math.max(Math.floor(position * pixels), 0), pixels - 1);
  return [at((event.clientX - box.left) / box.width, width), at((event.clientY - box.top) / box.height, height)];
}

function listen() {
  const stage = $("stage");
  let queued = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    stage.setPointerCapture(event.pointerId);
    moveTo(...pixelUnder(event));
  });
  stage.addEventListener("pointermove", (event) => {
    const [x, y] = pixelUnder(event);
    const value = label[y * width + x], cell = toCell(y, height, H) * W + toCell(x, width, W);
    $("cursor").replaceChildren(
      "Cursor at ", `${x}, ${y}: `, chip(value), `${className(value)}; weight ${percent(state.maps[state.r - 1][cell])}`);
    if (!stage.hasPointerCapture(event.pointerId)) return;
    if (!queued) requestAnimationFrame(() => { moveTo(...queued); queued = null; });
    queued = [x, y]; // the last of several moves between two frames
  });
  stage.addEventListener("pointerleave", () => $("cursor").replaceChildren());
  stage.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key in steps) {
      const [dx, dy] = steps[event.key].map((step) => step * (event.shiftKey ? 5 : 1));
      const x = toCell(state.x, width, W) + dx, y = toCell(state.y, height, H) + dy;
      moveTo(toPixel(Math.min(Math.max(x, 0), W - 1), width, W), toPixel(Math.min(Math.max(y, 0), H - 1), height, H));
    } else if (event.key === "Home") moveTo((width - 1) / 2, (height - 1) / 2);
    else if (event.key >= "1" && event.key <= String(R)) setPasses(Number(event.key));
    else return;
    event.preventDefault();
  });
  $("passes").addEventListener("input", (event) => setPasses(Number(event.target.value)));
  for (const id of ["opacity", "bright", "path", "predicted", "smooth"]) $(id).addEventListener("input", () => update());
}

function setPasses(r) {
  state.r = r;
  update();
}

// ----------------------------------------------------------------------------------------------------------- start

const thumbs = Array.from({ length: R }, (_, k) => {
  const button = document.createElement("button"), canvas = document.createElement("canvas");
  button.type = "button";
  button.className = "thumb";
  Object.assign(canvas, { width: W, height: H });
  canvas.style.aspectRatio = `${width} / ${height}`;
  button.append(`R = ${k + 1}`, canvas);
  button.addEventListener("click", () => setPasses(k + 1));
  $("maps").append(button);
  return button;
});

async function start() {
  label = await unpack(data.label);
  for (const part of data.passes) passes.push(prepare(await unpack(part)));
  Object.assign($("map"), { width: W, height: H });
  stretch($("map"));
  Object.assign($("classes"), { width, height });
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) pixels.data.set([...(data.palette[label[i]] ?? [128, 128, 128]), 255], 4 * i);
  $("classes").getContext("2d").putImageData(pixels, 0, 0);
  $("marks").setAttribute("viewBox", `0 0 ${width} ${height}`);
  const scale = $("scale").getContext("2d"), line = new ImageData(256, 1);
  data.heat.forEach((colour, i) => line.data.set([...colour, 255], 4 * i));
  scale.putImageData(line, 0, 0);
  listen();
  moveTo(state.x, state.y);
  document.documentElement.dataset.ready = "true";
}

start();
