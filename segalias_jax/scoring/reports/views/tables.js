"use strict";
/* Sorts the tables of the page, and fills the table of all images: sorted, filtered, in pages. */

const page = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const sorter = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/* Empty values come last in both directions. */
function compare(a, b, down) {
  const none = (x) => x === null || x === "" || x === "-";
  if (none(a) || none(b)) return none(a) - none(b);
  const order = typeof a === "number" && typeof b === "number" ? a - b : sorter.compare(a, b);
  return down ? -order : order;
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const cell = (row, i) => {
    const text = row.cells[i].textContent.trim();
    const number = Number(text.replace(/[%,\s]/g, "").replace("\u2212", "-"));
    return text !== "" && Number.isFinite(number) ? number : text;
  };
  heads.forEach((head, i) => head.querySelector("button")?.addEventListener("click", () => {
    const text = i === 0 || head.classList.contains("text");
    const now = head.getAttribute("aria-sort");
    const down = now ? now === "ascending" : !text;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => compare(cell(a, i), cell(b, i), down));
    table.tBodies[0].append(...rows);
  }));
}
document.querySelectorAll("table[data-sortable]").forEach(sortable);

/* Numbers of images are whole millionths, shown in per cent. */
const shown = (value) => (value === null ? "-" : (value / 10000).toFixed(1));
const pictures = page.pictures;

const images = (() => {
  const data = page.table;
  if (!data) return null;
  const { names, sizes, columns, classes } = data;
  const causes = columns.filter((column) => column.kind === "cause");
  const count = names.length;
  const wrong = names.map((_, i) => causes.reduce((sum, c) => sum + c.values[i], 0));
  const most = Math.max(1, ...wrong.filter(Number.isFinite));
  const leading = names.map((_, i) => {
    let best = -1;
    causes.forEach((c, k) => {
      if (c.values[i] > 0 && (best < 0 || c.values[i] > causes[best].values[i])) best = k;
    });
    return best;
  });
  const body = byId("image-rows"), headRow = byId("image-head");
  const field = (name) => byId(`filter-${name}`);
  let sort = { key: data.sort, down: data.down }, order = [], at = 0, every = false;

  function shownColumns() {
    const list = [
      { key: "name", title: "Image", text: true, value: (i) => names[i] },
    ];
    if (new Set(sizes.map(String)).size > 1) {
      list.push({ key: "size", title: "Size", value: (i) => sizes[i][0] * sizes[i][1] });
    }
    columns.forEach((column, k) => {
      if (column.kind === "cause" || !(column.main || every)) return;
      list.push({ key: `c${k}`, title: column.title, value: (i) => column.values[i], number: true });
    });
    if (causes.length) {
      list.push({ key: "wrong", title: `Wrong ${page.table.of ?? "pixels"}`, value: (i) => wrong[i], mini: true });
      list.push({ key: "cause", title: "Largest cause", text: true,
        value: (i) => (leading[i] < 0 ? "" : causes[leading[i]].title) });
      columns.forEach((column, k) => {
        if (column.kind !== "cause") return;
        list.push({ key: `c${k}`, title: column.title, value: (i) => column.values[i], number: true });
      });
    }
    return list;
  }

  function head() {
    headRow.replaceChildren(...shownColumns().map((column) => {
      const button = make("button", { type: "button", onclick: () => {
        sort = { key: column.key, down: sort.key === column.key ? !sort.down : !column.text && column.key !== data.sort };
        update();
        headRow.querySelector(`[data-key="${column.key}"] button`).focus();
      } }, column.title);
      const state = sort.key !== column.key ? null : sort.down ? "descending" : "ascending";
      return make("th", { scope: "col", class: column.text ? "text" : null, "aria-sort": state,
        "data-key": column.key }, button);
    }));
  }

  const number = (name) => {
    const text = field(name)?.value ?? "";
    return text === "" ? null : Number(text) * 10000;
  };

  function kept() {
    const text = field("name").value.trim().toLowerCase(), size = field("size")?.value ?? "";
    const of = field("class").value, cause = field("cause")?.value ?? "";
    const column = columns[Number(field("score").value)];
    const low = number("low"), high = number("high"), with_ = field("pictured").checked;
    return names.map((_, i) => i).filter((i) =>
      (!text || names[i].toLowerCase().includes(text)) &&
      (!size || size === sizes[i].join("x")) &&
      (of === "" || classes[i].includes(Number(of))) &&
      (cause === "" || leading[i] === Number(cause)) &&
      (!with_ || i in pictures) &&
      (low === null || (column.values[i] !== null && column.values[i] >= low)) &&
      (high === null || (column.values[i] !== null && column.values[i] <= high)));
  }

  function nameCell(i) {
    const picture = pictures[i];
    const cell = make("td");
    if (!picture) {
      cell.append(make("span", { class: "nothumb", title: "no picture in this page" }), names[i],
        make("span", { class: "aside" }, " (no picture in this page)"));
      return cell;
    }
    const source = viewer.source(picture, "thumb");
    cell.append(source ? make("img", { class: "thumb", src: source, alt: "", loading: "lazy" }) : "",
      make("button", { type: "button", class: "plain", "data-open": i,
        onclick: () => viewer.open(i) }, names[i]));
    return cell;
  }

  function miniCell(i) {
    const bar = make("span", { class: "mini", "aria-hidden": "true" });
    causes.forEach((c) => {
      if (c.values[i] > 0) {
        const part = make("i");
        part.style.cssText = `width:${(100 * c.values[i]) / most}%;background:${c.color}`;
        bar.append(part);
      }
    });
    return make("td", {}, shown(wrong[i]), bar);
  }

  function row(i) {
    return make("tr", {}, ...shownColumns().map((column) => {
      if (column.key === "name") return nameCell(i);
      if (column.key === "size") return make("td", {}, `${sizes[i][1]} \u00d7 ${sizes[i][0]}`);
      if (column.mini) return miniCell(i);
      if (column.key === "cause") {
        const cell = make("td", { class: "text" });
        if (leading[i] >= 0) {
          const swatch = make("i", { class: "swatch" });
          swatch.style.background = causes[leading[i]].color;
          cell.append(swatch, causes[leading[i]].title);
        }
        return cell;
      }
      const value = column.value(i);
      return make("td", { class: value === 0 ? "zero" : null }, shown(value));
    }));
  }

  function rows() {
    const size = Number(byId("page-size").value), last = Math.max(0, Math.ceil(order.length / size) - 1);
    at = Math.min(at, last);
    body.replaceChildren(...order.slice(at * size, (at + 1) * size).map(row));
    byId("page-number").textContent = `page ${at + 1} of ${last + 1}`;
    byId("page-before").disabled = at === 0;
    byId("page-after").disabled = at === last;
  }

  function update() {
    const column = shownColumns().find((one) => one.key === sort.key) ?? shownColumns()[0];
    order = kept();
    order.sort((a, b) => compare(column.value(a), column.value(b), sort.down) || a - b);
    head();
    rows();
    byId("image-count").textContent = `${order.length} of ${count} images`;
  }

  function reset() {
    for (const name of ["name", "size", "class", "cause", "low", "high"]) {
      if (field(name)) field(name).value = "";
    }
    field("pictured").checked = false;
  }

  function show(filters) {
    reset();
    for (const [name, value] of Object.entries(filters)) if (field(name)) field(name).value = value;
    at = 0;
    update();
    byId("images").scrollIntoView();
    field(Object.keys(filters)[0]).focus({ preventScroll: true });
  }

  const changed = () => { at = 0; update(); };
  document.querySelectorAll("[id^=filter-]").forEach((one) => one.addEventListener("input", changed));
  byId("filter-reset").addEventListener("click", () => { reset(); changed(); });
  byId("all-scores")?.addEventListener("change", (event) => { every = event.target.checked; update(); });
  byId("page-size").addEventListener("change", () => { at = 0; rows(); });
  byId("page-before").addEventListener("click", () => { at -= 1; rows(); });
  byId("page-after").addEventListener("click", () => { at += 1; rows(); });
  document.querySelectorAll("[data-show]").forEach((button) =>
    button.addEventListener("click", () => show(JSON.parse(button.dataset.show))));
  return { update, names, columns, pictured: () => order.filter((i) => i in pictures) };
})();
