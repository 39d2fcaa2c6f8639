// Sorts a table by a column: a click or Enter on its header, again for the other direction, once more for no order.
"use strict";

for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  const original = [...table.tBodies].map((body) => [...body.rows]);
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    header.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const first = header.classList.contains("number") ? "descending" : "ascending";
      const second = first === "descending" ? "ascending" : "descending";
      const next = { none: first, [first]: second, [second]: "none" }[header.getAttribute("aria-sort")];
      headers.forEach((other) => other.setAttribute("aria-sort", "none"));
      header.setAttribute("aria-sort", next);
      [...table.tBodies].forEach((body, i) => body.append(...sorted(original[i], column, next)));
    });
  });
}

function sorted(rows, column, direction) {
  if (direction === "none") return rows;
  const sign = direction === "ascending" ? 1 : -1;
  const key = (row) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
  };
  const kind = (value) => (typeof value === "number" ? 0 : value === "—" || value === "" ? 2 : 1);
  return [...rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (kind(x) !== kind(y)) return kind(x) - kind(y); // numbers, texts, what is missing: in both directions
    return sign * (kind(x) === 0 ? x - y : x.localeCompare(y, undefined, { numeric: true }));
  });
}
