const pageData = async id => { // data of the page: gzip, as base64
  const packed = document.getElementById(id);
  if (!packed) return null;
  const bytes = Uint8Array.from(atob(packed.textContent), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
};
(async () => { // rows that contain every word that was typed, sorted by the column that was clicked
  const element = id => document.getElementById(id), all = await pageData("cell-data");
  if (!all) return;
  const box = element("cell-filter"), head = element("cell-head");
  let rows = all.data, by = -1, up = 1;
  const cell = (kind, text) => {
    const out = document.createElement(kind);
    out.textContent = text === null ? "" : text;
    return out;
  };
  const draw = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter(r => words.every(w => r.some(v => String(v).toLowerCase().includes(w))));
    element("cell-count").textContent = `${found.length} of ${rows.length} rows`
      + (found.length > 200 ? ", the first 200 shown" : "");
    element("cell-rows").replaceChildren(...found.slice(0, 200).map(r => {
      const tr = document.createElement("tr");
      tr.append(...r.map(v => cell("td", v)));
      return tr;
    }));
  };
  const order = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b));
  all.columns.forEach((name, i) => {
    const th = cell("th", name);
    th.addEventListener("click", () => {
      up = by === i ? -up : 1;
      by = i;
      rows = [...rows].sort((a, b) => up * order(a[i], b[i]));
      draw();
    });
    head.append(th);
  });
  box.addEventListener("input", draw);
  draw();
})();
