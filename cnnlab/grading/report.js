"use strict";
(() => {
  // In Jupyter the page lies at .../files/reports/...: formgrader is beside it.
  const [beside, ...below] = location.pathname.split("/files/");
  if (below.length) for (const link of document.querySelectorAll("[data-formgrader]"))
    link.href = `${beside}/formgrader/${link.dataset.formgrader}`;

  const table = document.querySelector("table.class");
  const form = document.querySelector("form.tools");
  if (!table) return;
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];
  const value = (row, index) => row.cells[index].dataset.v;
  const number = (text) => text !== "" && isFinite(text);
  // The address keeps what was chosen: the page may load itself again.
  const chosen = new URLSearchParams(location.hash.slice(1));

  function sort(index, down) {
    heads.forEach((head, i) => head.setAttribute("aria-sort", i !== index ? "none"
      : down ? "descending" : "ascending"));
    const order = (a, b) => {
      const [x, y] = [value(a, index), value(b, index)];
      return number(x) && number(y) ? x - y : x.localeCompare(y, undefined, {numeric: true});
    };
    rows.sort((a, b) => (down ? -1 : 1) * order(a, b) || order(a, b));
    body.append(...rows);
    keep("sort", `${index}${down ? "-" : ""}`);
  }

  function filter() {
    const text = form.elements.text.value.trim().toLowerCase();
    const states = boxes.filter((box) => box.checked).map((box) => box.value);
    let shown = 0;
    for (const row of rows) {
      const has = row.dataset.states.split(" ");
      row.hidden = !(states.every((state) => has.includes(state)) &&
        `${value(row, 0)} ${value(row, 1)}`.toLowerCase().includes(text));
      shown += !row.hidden;
    }
    form.querySelector("output").value = `${shown} of ${rows.length}`;
    keep("text", text);
    keep("states", states.join(" "));
  }

  function keep(name, what) {
    what ? chosen.set(name, what) : chosen.delete(name);
    history.replaceState(null, "", `#${chosen}`);
  }

  // No cell that a spreadsheet would compute.
  const inert = (text) => /^\s*[=+\-@\t\r]/.test(text) && !/^\s*[+-]?\d+([.,]\d+)?\s*$/.test(text)
    ? `'${text}` : text;
  const quoted = (text) => `"${inert(text).replaceAll('"', '""')}"`;

  function save(kind) {
    const records = rows.filter((row) => !row.hidden).map((row) => ({
      student: value(row, 0), name: value(row, 1),
      points: row.cells[2].dataset.v === "-1" ? "" : value(row, 2),
      state: row.cells[3].innerText.trim().replaceAll(/\s*\n\s*/g, "; "),
      "points lost": row.cells[4].innerText.trim(),
    }));
    const fields = Object.keys(records[0] ?? {});
    const text = kind === "json" ? JSON.stringify(records, null, 1)
      : [fields, ...records.map(Object.values)].map((r) => r.map(quoted).join(",")).join("\r\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], {type: "text/plain"}));
    link.download = `${document.title}.${kind}`;
    link.click();
  }

  heads.slice(0, -1).forEach((head, index) => head.querySelector("button").onclick =
    () => sort(index, head.getAttribute("aria-sort") === "ascending"));
  form.oninput = filter;
  form.onsubmit = (event) => event.preventDefault();
  form.querySelectorAll("button").forEach((b) => b.onclick = () => save(b.value));
  form.elements.text.value = chosen.get("text") ?? "";
  for (const box of boxes) box.checked = (chosen.get("states") ?? "").split(" ").includes(box.value);
  form.hidden = false;
  const order = /^([0-5])(-?)$/.exec(chosen.get("sort") ?? "");
  if (order) sort(+order[1], order[2] === "-");
  filter();
})();
