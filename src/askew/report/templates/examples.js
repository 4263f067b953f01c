// The map: hover, tap, or arrow keys choose a point; its picture and text are shown beside it, from the list of pairs.
for (const box of document.querySelectorAll(".joint-map")) {
  const svg = box.querySelector("svg");
  const panel = box.querySelector(".point");
  const ring = svg.querySelector(".ring");
  const link = svg.querySelector(".link");
  const pairs = [...box.querySelectorAll(".pairs > li")];
  const points = [...svg.querySelectorAll("[data-pair]")].map((mark) => ({
    mark,
    pair: Number(mark.dataset.pair),
    kind: mark.classList.contains("image") ? "image" : "text",
    x: Number(mark.dataset.x),
    y: Number(mark.dataset.y),
  }));
  let chosen = null;

  const other = (point) => points.find(({ pair, kind }) => pair === point.pair && kind !== point.kind);

  function choose(point) {
    if (point === chosen) return;
    chosen = point;
    ring.setAttribute("cx", point.x);
    ring.setAttribute("cy", point.y);
    ring.setAttribute("r", point.mark.querySelector("image") ? 21 : 9);
    const end = other(point);
    for (const [name, value] of [["x1", point.x], ["y1", point.y], ["x2", end.x], ["y2", end.y]]) link.setAttribute(name, value);
    link.classList.add("shown");
    const what = document.createElement("p");
    what.className = "what";
    what.textContent = point.kind === "image" ? "An image; the dashed line leads to its text." : "A text; the dashed line leads to its image.";
    panel.replaceChildren(what, ...[...pairs[point.pair].childNodes].map((node) => node.cloneNode(true)));
  }

  function nearest(event) {
    const inverse = svg.getScreenCTM().inverse();
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(inverse);
    const reach = Math.max(24, 24 * inverse.a); // a finger needs as many pixels on a small screen
    let best = null;
    let least = reach;
    for (const point of points) {
      const distance = Math.hypot(point.x - x, point.y - y);
      if (distance < least) [best, least] = [point, distance];
    }
    return best;
  }

  for (const name of ["pointermove", "pointerdown"]) {
    svg.addEventListener(name, (event) => {
      const point = nearest(event);
      if (point) choose(point);
    });
  }

  const directions = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  svg.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") choose(other(chosen));
    else if (event.key in directions) {
      const [right, down] = directions[event.key];
      let best = null;
      let least = Infinity;
      for (const point of points) {
        const along = (point.x - chosen.x) * right + (point.y - chosen.y) * down;
        const across = Math.abs((point.x - chosen.x) * down) + Math.abs((point.y - chosen.y) * right);
        const cost = along + 2 * across;
        if (along > 0 && cost < least) [best, least] = [point, cost];
      }
      if (best) choose(best);
    } else return;
    event.preventDefault();
  });

  const first = Number(box.dataset.first);
  choose(points.find(({ pair, kind }) => pair === first && kind === "image"));
}
