"use strict";
/* Shows an image over the whole window: as it is, its truth, predictions and causes, in panes that
   zoom together. */

var viewer = (() => {
  const dialog = byId("viewer");
  const LAYERS = ["image", "truth", "prediction", "causes"];
  const LARGEST = 64;
  let at = null, layer = "causes", zoom = { scale: 1, x: 0, y: 0 }, sheets = [], maps = [], serial = 0;

  /* "#ID" stands for an image that the page holds already. */
  const address = (text) => (text && text.startsWith("#") ? byId(text.slice(1))?.src ?? "" : text);

  function source(picture, name) {
    if (name === "thumb") return address(picture.image ?? picture.models[0].prediction);
    return address(picture[name]);
  }

  /* One pane for each model; with "all" one for each layer. */
  function panes(picture) {
    const models = picture.models.map((model, k) => ({ ...picture, ...model, title: page.models[k] ?? "" }));
    if (layer === "all") return LAYERS.map((name) => ({ ...models[0], title: name, layer: name }));
    if (models.length > 1 && (layer === "image" || layer === "truth")) {
      return [{ ...models[0], title: layer, layer }];
    }
    return models.map((model) => ({ ...model, layer }));
  }

  function columnsOf(count) {
    const box = byId("panes").getBoundingClientRect();
    const [height, width] = page.table.sizes[at];
    let best = [0, 1];
    for (let columns = 1; columns <= count; columns += 1) {
      const lines = Math.ceil(count / columns);
      const scale = Math.min(box.width / columns / width, (box.height / lines - 24) / height);
      if (scale > best[0]) best = [scale, columns];
    }
    return best[1];
  }

  function draw() {
    const picture = pictures[at], list = panes(picture), holder = byId("panes");
    const columns = columnsOf(list.length);
    holder.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    holder.style.gridAutoRows = "minmax(0, 1fr)";
    sheets = [];
    holder.replaceChildren(...list.map((pane) => {
      const sheet = make("div", { class: "sheet" });
      const name = `${pane.layer} of ${images.names[at]}${pane.title && pane.title !== pane.layer ? `, ${pane.title}` : ""}`;
      if (pane.layer === "causes") {
        if (pane.image) sheet.append(make("img", { class: "base", src: address(pane.image), alt: "" }));
        sheet.append(make("img", { src: address(pane.causes), alt: name }));
      } else if (pane[pane.layer]) {
        sheet.append(make("img", { src: address(pane[pane.layer]), alt: name }));
      }
      const stage = make("div", { class: "stage" }, sheet);
      sheets.push({ stage, sheet });
      return make("div", { class: "pane" }, make("span", {}, pane.title), stage);
    }));
    place();
    byId("viewer-title").textContent = images.names[at];
    byId("viewer-remark").textContent = picture.remark || "";
    const values = images.columns.filter((column) => column.main && column.kind !== "cause");
    byId("viewer-scores").textContent =
      values.map((column) => `${column.title} ${shown(column.values[at])}`).join(" \u00b7 ");
    document.querySelectorAll("[data-layer]").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.layer === layer));
      button.disabled = button.dataset.layer === "image" && !picture.image;
    });
    document.querySelectorAll("[data-legend]").forEach((list_) => {
      const wanted = layer === "all" || (list_.dataset.legend === "causes") === (layer === "causes");
      list_.classList.toggle("hidden", !wanted || layer === "image");
    });
    const found = images.pictured(), position = found.indexOf(at);
    byId("viewer-before").disabled = position <= 0;
    byId("viewer-after").disabled = position < 0 || position === found.length - 1;
    byId("viewer-at").textContent = "";
  }

  /* Sheets fill their stages at scale 1; x and y move them, in stages. */
  function place() {
    const [height, width] = page.table.sizes[at];
    for (const { stage, sheet } of sheets) {
      const room = [stage.clientWidth, stage.clientHeight];
      const fit = Math.min(room[0] / width, room[1] / height);
      sheet.style.width = `${fit * width}px`;
      sheet.style.height = `${fit * height}px`;
      const left = (room[0] - fit * width * zoom.scale) / 2 + zoom.x * room[0];
      const top = (room[1] - fit * height * zoom.scale) / 2 + zoom.y * room[1];
      sheet.style.transform = `translate(${left}px, ${top}px) scale(${zoom.scale})`;
      sheet.classList.toggle("sharp", fit * zoom.scale * devicePixelRatio > 2);
    }
    byId("viewer-zoom").textContent = `${Math.round(100 * zoom.scale)} %`;
  }

  /* `px` and `py` stay where they are: fractions of the stage, from its middle. */
  function zoomTo(scale, px = 0, py = 0) {
    const next = Math.min(LARGEST, Math.max(1, scale));
    zoom.x = px - ((px - zoom.x) * next) / zoom.scale;
    zoom.y = py - ((py - zoom.y) * next) / zoom.scale;
    zoom.scale = next;
    keepInside();
    place();
  }

  function keepInside() {
    const most = (zoom.scale - 1) / 2;
    zoom.x = Math.min(most, Math.max(-most, zoom.x));
    zoom.y = Math.min(most, Math.max(-most, zoom.y));
  }

  function show(name) {
    if (name === "image" && !pictures[at].image) return;
    layer = name;
    draw();
  }

  function go(step) {
    const found = images.pictured(), next = found[found.indexOf(at) + step];
    if (next === undefined) return;
    at = next;
    zoom = { scale: 1, x: 0, y: 0 };
    if (layer === "image" && !pictures[at].image) layer = "causes";
    draw();
    load();
  }

  function open(index, name = "causes") {
    at = index;
    layer = name === "image" && !pictures[at].image ? "causes" : name;
    zoom = { scale: 1, x: 0, y: 0 };
    if (!dialog.open) dialog.showModal();
    draw();
    dialog.querySelector(`[data-layer="${layer}"]`).focus();
    load();
  }

  /* What a pixel is, is read from the maps themselves: every class and every cause has its color. */
  async function load() {
    const mine = (serial += 1), picture = pictures[at], found = [];
    maps = [];
    for (const model of picture.models) {
      const one = {};
      for (const name of ["truth", "prediction", "causes"]) {
        const image = new Image();
        image.src = address(name === "truth" ? picture.truth : model[name]);
        try { await image.decode(); } catch { return; }
        const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight });
        const context = canvas.getContext("2d", { willReadFrequently: true });
        context.drawImage(image, 0, 0);
        one[name] = context;
      }
      found.push(one);
    }
    if (mine === serial) maps = found;
  }

  function named(context, x, y, names) {
    const { width, height } = context.canvas;
    const [r, g, b, a] = context.getImageData(Math.floor(x * width), Math.floor(y * height), 1, 1).data;
    const hex = `#${[r, g, b].map((v) => v.toString(16).padStart(2, "0")).join("")}`;
    return a === 255 ? names[hex] ?? "ignored" : a === 0 ? "right" : "ignored";
  }

  function tell(event, k) {
    const { stage } = sheets[k], box = stage.getBoundingClientRect();
    const [height, width] = page.table.sizes[at];
    const fit = Math.min(box.width / width, box.height / height) * zoom.scale;
    const x = ((event.clientX - box.left) / box.width - 0.5 - zoom.x) * box.width / fit / width + 0.5;
    const y = ((event.clientY - box.top) / box.height - 0.5 - zoom.y) * box.height / fit / height + 0.5;
    const map = maps[layer === "all" || maps.length < sheets.length ? 0 : k] ?? maps[0];
    if (!map || x < 0 || y < 0 || x >= 1 || y >= 1) { byId("viewer-at").textContent = ""; return; }
    const truth = named(map.truth, x, y, page.palette), cause = named(map.causes, x, y, page.causes);
    const words = truth === "ignored" ? "ignored"
      : `truth ${truth} \u00b7 prediction ${named(map.prediction, x, y, page.palette)} \u00b7 ${cause}`;
    byId("viewer-at").textContent = `x ${Math.floor(x * width)}, y ${Math.floor(y * height)}: ${words}`;
  }

  const pointers = new Map();
  const holder = byId("panes");
  const stageOf = (event) => sheets.findIndex(({ stage }) => stage.contains(event.target));
  const inStage = (event, k) => {
    const box = sheets[k].stage.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width - 0.5, (event.clientY - box.top) / box.height - 0.5];
  };
  holder.addEventListener("wheel", (event) => {
    const k = stageOf(event);
    if (k < 0) return;
    event.preventDefault();
    zoomTo(zoom.scale * Math.exp(-Math.sign(event.deltaY) * Math.min(0.5, Math.abs(event.deltaY) / 300)),
      ...inStage(event, k));
  }, { passive: false });
  holder.addEventListener("pointerdown", (event) => {
    const k = stageOf(event);
    if (k < 0) return;
    sheets[k].stage.setPointerCapture(event.pointerId);
    sheets[k].stage.classList.add("moving");
    pointers.set(event.pointerId, { k, place: inStage(event, k) });
  });
  holder.addEventListener("pointermove", (event) => {
    const held = pointers.get(event.pointerId), k = held ? held.k : stageOf(event);
    if (k < 0) return;
    if (!held) { tell(event, k); return; }
    const now = inStage(event, k), [first, second] = [...pointers.values()];
    if (second) {
      const other = held === first ? second : first;
      const before = Math.hypot(held.place[0] - other.place[0], held.place[1] - other.place[1]);
      const after = Math.hypot(now[0] - other.place[0], now[1] - other.place[1]);
      held.place = now;
      if (before > 0) zoomTo(zoom.scale * after / before, other.place[0], other.place[1]);
      return;
    }
    zoom.x += now[0] - held.place[0];
    zoom.y += now[1] - held.place[1];
    held.place = now;
    keepInside();
    place();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    holder.addEventListener(name, (event) => {
      const held = pointers.get(event.pointerId);
      if (held) sheets[held.k]?.stage.classList.remove("moving");
      pointers.delete(event.pointerId);
    });
  }
  holder.addEventListener("dblclick", (event) => {
    const k = stageOf(event);
    if (k >= 0) zoomTo(zoom.scale > 1 ? 1 : 4, ...inStage(event, k));
  });

  const keys = {
    ArrowLeft: () => go(-1), ArrowRight: () => go(1),
    "+": () => zoomTo(zoom.scale * 1.5), "=": () => zoomTo(zoom.scale * 1.5),
    "-": () => zoomTo(zoom.scale / 1.5), "0": () => zoomTo(1),
  };
  const moves = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const button = dialog.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (event.shiftKey && moves[event.key]) {
      zoom.x += 0.15 * moves[event.key][0];
      zoom.y += 0.15 * moves[event.key][1];
      keepInside();
      place();
    } else if (button) show(button.dataset.layer);
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  });
  dialog.querySelectorAll("[data-layer]").forEach((button) =>
    button.addEventListener("click", () => show(button.dataset.layer)));
  byId("viewer-before").addEventListener("click", () => go(-1));
  byId("viewer-after").addEventListener("click", () => go(1));
  byId("viewer-larger").addEventListener("click", keys["+"]);
  byId("viewer-smaller").addEventListener("click", keys["-"]);
  byId("viewer-whole").addEventListener("click", keys["0"]);
  byId("viewer-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { pointers.clear(); byId("panes").replaceChildren(); });
  window.addEventListener("resize", () => { if (dialog.open) draw(); });
  document.querySelectorAll("[data-picture]").forEach((button) =>
    button.addEventListener("click", () => open(Number(button.dataset.picture), button.dataset.of)));
  document.querySelectorAll("img[data-src]").forEach((image) => {
    const from = address(image.dataset.src);
    if (from) image.src = from;
  });
  return { open, source };
})();
if (images) images.update();
