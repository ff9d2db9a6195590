(async () => { // score against budget: a list of model and prompt, four panels, a legend that hides lines
  const place = document.getElementById("curves"), all = await pageData("curve-data"), hidden = new Set();
  if (!all) return;
  const W = 560, H = 300, left = 55, right = 10, top = 24, bottom = 40;
  const make = (parent, kind, attributes, text) => {
    const svg = ["svg", "line", "polyline", "circle", "text", "title"].includes(kind);
    const out = svg ? document.createElementNS("http://www.w3.org/2000/svg", kind) : document.createElement(kind);
    for (const [k, v] of Object.entries(attributes || {})) out.setAttribute(k, v);
    if (text !== undefined) out.textContent = text;
    parent.append(out);
    return out;
  };
  const panel = (parent, one) => {
    const shown = one.lines.filter(o => !hidden.has(o.name)), points = shown.flatMap(o => o.points);
    const values = [...points.flatMap(o => o.slice(1)), ...Object.values(one.guides)].filter(v => v !== null);
    const svg = make(parent, "svg", {viewBox: `0 0 ${W} ${H}`, class: "curve", role: "img", "aria-label": one.title});
    make(svg, "text", {x: left, y: 14, "font-weight": "bold"}, one.title);
    if (!values.length) return;
    const ks = [...new Set(points.map(o => o[0]))].sort((a, b) => a - b);
    const low = Math.min(...values), high = Math.max(...values), span = (high - low || 1) * 1.1;
    const last = Math.log2(ks[ks.length - 1]) || 1;
    const x = k => left + 8 + (W - left - right - 16) * Math.log2(k) / last;
    const y = v => H - bottom - 8 - (H - top - bottom - 16) * (v - low) / span;
    const line = (x1, y1, x2, y2, stroke, more) => make(svg, "line", {x1, y1, x2, y2, stroke, ...more});
    line(left, top, left, H - bottom, "#222");
    line(left, H - bottom, W - right, H - bottom, "#222");
    for (let i = 0; i < 5; i++) {
      const v = low + (high - low) * i / 4;
      make(svg, "text", {x: left - 6, y: y(v) + 4, "text-anchor": "end"}, v.toFixed(2));
    }
    for (const k of ks) make(svg, "text", {x: x(k), y: H - bottom + 15, "text-anchor": "middle"}, k);
    make(svg, "text", {x: (left + W) / 2, y: H - 6, "text-anchor": "middle"}, "samples per clip");
    for (const [name, v] of Object.entries(one.guides)) {
      line(left, y(v), W - right, y(v), "#888", {"stroke-dasharray": "2 3"});
      make(svg, "text", {x: W - right, y: y(v) - 3, "text-anchor": "end", fill: "#666"}, name);
    }
    for (const o of shown) {
      make(svg, "polyline", {points: o.points.map(p => `${x(p[0])},${y(p[1])}`).join(" "), fill: "none",
        stroke: o.colour, "stroke-width": 1.6, "stroke-dasharray": o.selects ? "5 3" : "none"});
      for (const [k, v, a, b] of o.points) {
        if (a !== null && b !== null) line(x(k), y(a), x(k), y(b), o.colour, {"stroke-width": .7});
        const dot = make(svg, "circle", {cx: x(k), cy: y(v), r: 3, fill: o.colour});
        make(dot, "title", {}, `${o.name}, k = ${k}: ${v}` + (a === null ? "" : ` [${a}, ${b}]`));
      }
    }
  };
  const choice = make(make(place, "p"), "select", {"aria-label": "corpus, model and prompt"});
  all.forEach((o, i) => make(choice, "option", {value: i}, o.name));
  const keys = make(place, "div"), panels = make(place, "div", {class: "curves"});
  const draw = () => {
    const one = all[choice.value];
    keys.replaceChildren();
    panels.replaceChildren();
    const names = new Map(one.panels.flatMap(p => p.lines.map(o => [o.name, o.colour])));
    for (const [name, colour] of names) {
      const key = make(keys, "span", {class: hidden.has(name) ? "key off" : "key"});
      make(key, "b", {style: `color: ${colour}`}, "● ");
      make(key, "span", {}, name);
      key.addEventListener("click", () => { hidden.delete(name) || hidden.add(name); draw(); });
    }
    for (const o of one.panels) panel(panels, o);
  };
  choice.addEventListener("change", draw);
  draw();
})();
