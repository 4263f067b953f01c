// What a page must keep at any width and in any colours. Each check returns lines that name an element and its fault.
// Evaluated in the page by opened.py; `checks(names)` runs those that are named.
(() => {
  const visible = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  const inPicture = (element) => element.closest("svg") !== null;

  /** A short address of an element that a reader of the page's source can find. */
  function named(element) {
    const own = (one) => {
      const id = one.id ? `#${one.id}` : "";
      const classes = [...one.classList].map((name) => `.${name}`).join("");
      return one.localName + id + classes;
    };
    const path = [];
    for (let one = element; one && one !== document.body && path.length < 4; one = one.parentElement) {
      path.unshift(own(one));
      if (one.id) break;
    }
    return path.join(" > ");
  }

  const quoted = (text) => JSON.stringify(text.trim().replace(/\s+/g, " ").slice(0, 50));

  let kept = null; // leaves of the page as it is during one call of `run`

  /** Every piece of visible text: its node, its element, and the four corners of each line that it is set in. */
  function leaves() {
    if (kept) return kept;
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const range = document.createRange();
    while (walker.nextNode()) {
      const node = walker.currentNode;
      const element = node.parentElement;
      if (!node.data.trim() || !element || element.closest("script, style, noscript, title, desc, option")) continue;
      if (!visible(element)) continue;
      range.selectNodeContents(node);
      const lines = inPicture(element) ? [turned(element)] : [...range.getClientRects()].map(upright);
      const seen = lines.filter((line) => line && line.width > 0.5 && line.height > 0.5);
      if (seen.length) found.push({ node, element, lines: seen });
    }
    kept = found;
    return found;
  }

  function boxed(corners) {
    const [xs, ys] = [corners.map((c) => c[0]), corners.map((c) => c[1])];
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    return { corners, left, right, top, bottom, width: right - left, height: bottom - top };
  }

  /** The box of a line: the middle of its height, because the boxes of lines set close reach into each other. */
  function upright(rect) {
    const trim = rect.height * 0.18;
    const [top, bottom] = [rect.top + trim, rect.bottom - trim];
    return boxed([[rect.left, top], [rect.right, top], [rect.right, bottom], [rect.left, bottom]]);
  }

  /** The same for text in a figure, which may be turned. */
  function turned(element) {
    const text = element.closest("text");
    const matrix = text && text.getScreenCTM();
    if (!matrix) return null;
    const { x, y, width, height } = element.getBBox ? element.getBBox() : text.getBBox();
    const trim = height * 0.18;
    const corners = [[x, y + trim], [x + width, y + trim], [x + width, y + height - trim], [x, y + height - trim]];
    return boxed(corners.map(([a, b]) => [matrix.a * a + matrix.c * b + matrix.e, matrix.b * a + matrix.d * b + matrix.f]));
  }

  /** Whether two convex quadrilaterals share more than `slack` pixels, by separating axes. */
  function meet(one, other, slack) {
    const axes = [one, other].flatMap(({ corners: [a, b, , d] }) =>
      [[b[0] - a[0], b[1] - a[1]], [d[0] - a[0], d[1] - a[1]]].map(([x, y]) => {
        const length = Math.hypot(x, y) || 1;
        return [x / length, y / length];
      }));
    return axes.every(([x, y]) => {
      const spans = [one, other].map(({ corners }) => corners.map((c) => c[0] * x + c[1] * y));
      return Math.min(Math.max(...spans[0]), Math.max(...spans[1]))
        - Math.max(Math.min(...spans[0]), Math.min(...spans[1])) > slack;
    });
  }

  /** The part of a box that the ancestors which clip or scroll leave to see, and the first that cuts it for good. */
  function seenOf(element, box) {
    let [left, right, top, bottom] = [box.left, box.right, box.top, box.bottom];
    let [cut, reachable] = [null, false]; // what scrolls can be reached, regardless of what clips it further out
    for (let one = element; one && one !== document.documentElement; one = one.parentElement) {
      const style = getComputedStyle(one);
      if (style.overflowX === "visible" && style.overflowY === "visible") continue;
      if (inPicture(one) && one.localName !== "svg") continue;
      const rect = one.getBoundingClientRect();
      const scrolls = /auto|scroll/.test(style.overflowX + style.overflowY);
      if (!scrolls && !cut && !reachable) {
        const beyond = Math.max(rect.left - left, right - rect.right, rect.top - top, bottom - rect.bottom);
        if (beyond > 1) cut = { by: one, beyond };
      }
      reachable ||= scrolls;
      [left, right] = [Math.max(left, rect.left), Math.min(right, rect.right)];
      [top, bottom] = [Math.max(top, rect.top), Math.min(bottom, rect.bottom)];
    }
    return { shown: right - left > 1 && bottom - top > 1, right, cut };
  }

  function overflow() {
    const root = document.documentElement;
    if (root.scrollWidth <= root.clientWidth) return [];
    const beyond = (element, box) => seenOf(element, box).right > root.clientWidth + 1;
    const boxes = [...document.body.querySelectorAll("*")].filter((element) => {
      const box = element.getBoundingClientRect();
      return beyond(element.parentElement, box) && visible(element)
        && ![...element.children].some((child) => child.getBoundingClientRect().right >= box.right);
    });
    const words = leaves().filter(({ element, lines }) => lines.some((line) => beyond(element, line)));
    const wide = new Set([...boxes, ...words.map(({ element }) => element)].map(named));
    return [`the page is ${root.scrollWidth} px wide in ${root.clientWidth}: ${[...wide].slice(0, 4).join("; ")}`];
  }

  function overlap() {
    const boxes = leaves().flatMap(({ node, element, lines }) =>
      lines.filter((line) => seenOf(element, line).shown).map((line) => ({ node, element, line })));
    boxes.sort((a, b) => a.line.top - b.line.top);
    const found = new Set();
    for (let first = 0; first < boxes.length; first++) {
      for (let second = first + 1; second < boxes.length; second++) {
        const [a, b] = [boxes[first], boxes[second]];
        if (b.line.top > a.line.bottom) break;
        if (a.node === b.node || a.line.right < b.line.left || b.line.right < a.line.left) continue;
        if (meet(a.line, b.line, 1.5)) {
          found.add(`${named(a.element)} ${quoted(a.node.data)} overlaps ${named(b.element)} ${quoted(b.node.data)}`);
        }
      }
    }
    return [...found];
  }

  function cut() {
    const found = new Set();
    for (const { node, element, lines } of leaves()) {
      const tiny = element.getBoundingClientRect();
      if (tiny.width <= 1.5 && tiny.height <= 1.5) continue; // text for screen readers alone
      for (const line of lines) {
        const fault = seenOf(element, line).cut;
        const told = element.closest("[title]")?.title ?? "";
        if (fault && !told.includes(node.data.trim())) {
          found.add(`${named(element)} ${quoted(node.data)} is cut off by ${named(fault.by)}, ${Math.round(fault.beyond)} px`);
        }
      }
    }
    return [...found];
  }

  /** Words that a column is too narrow for: a few letters in each of many lines. */
  function squeezed() {
    const found = new Set();
    for (const { node, element, lines } of leaves()) {
      const letters = node.data.trim().length;
      const height = new Set(lines.map((line) => Math.round(line.top))).size; // a line of two directions is two boxes
      if (height >= 4 && letters / height < 2.5) {
        found.add(`${named(element)} ${quoted(node.data)} is set in ${height} lines for ${letters} letters`);
      }
    }
    return [...found];
  }

  /** Letters that are too small to read as they stand on the screen: those of a figure shrink with it. */
  function small() {
    const found = new Map();
    for (const { node, element } of leaves()) {
      const matrix = inPicture(element) ? element.closest("text")?.getScreenCTM() : null;
      const scale = matrix ? Math.hypot(matrix.c, matrix.d) : 1;
      const size = parseFloat(getComputedStyle(element).fontSize) * scale;
      if (size < 8.95) found.set(named(element), `${named(element)} ${quoted(node.data)} has letters of ${size.toFixed(1)} px`);
    }
    return [...found.values()];
  }

  // ---- colours

  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const colours = new Map();

  /** Any CSS colour as [red, green, blue, alpha], each 0 to 1. */
  function rgba(colour) {
    if (!colours.has(colour)) {
      const match = colour.match(/^rgba?\(([\d.]+), ([\d.]+), ([\d.]+)(?:, ([\d.]+))?\)$/);
      if (match) {
        colours.set(colour, [match[1] / 255, match[2] / 255, match[3] / 255, match[4] === undefined ? 1 : +match[4]]);
      } else {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        colours.set(colour, [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255));
      }
    }
    return colours.get(colour);
  }

  const over = (top, below, alpha = top[3]) => [0, 1, 2].map((i) => top[i] * alpha + below[i] * (1 - alpha));

  function luminance(colour) {
    const [r, g, b] = colour.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  function contrastOf(one, other) {
    const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  }

  /** What is painted behind an element by itself and its ancestors; a string names what cannot be computed. */
  function behind(element) {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const style = getComputedStyle(one);
      if (style.backgroundImage !== "none" && !inPicture(one)) return `a background image of ${named(one)}`;
      const layer = rgba(style.backgroundColor);
      if (layer[3] > 0 && (!inPicture(one) || one.localName === "svg")) layers.push(layer);
      if (layer[3] === 1) break;
    }
    const canvasColour = getComputedStyle(document.documentElement).colorScheme.includes("dark")
      && matchMedia("(prefers-color-scheme: dark)").matches ? [18 / 255, 18 / 255, 18 / 255] : [1, 1, 1];
    return layers.reduceRight((below, layer) => over(layer, below), canvasColour);
  }

  /** The same for text in a figure: shapes drawn before it, at its middle. */
  function behindInPicture(element, line) {
    const svg = element.ownerSVGElement;
    let below = behind(svg);
    if (typeof below === "string") return below;
    const [x, y] = [(line.left + line.right) / 2, (line.top + line.bottom) / 2];
    for (const shape of svg.querySelectorAll("path, rect, circle, ellipse, polygon")) {
      if (!(shape.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_FOLLOWING)) break;
      if (shape.closest("defs, clipPath, symbol") || !visible(shape)) continue;
      const style = getComputedStyle(shape);
      if (style.fill === "none") continue;
      const box = shape.getBoundingClientRect();
      if (x < box.left || x > box.right || y < box.top || y > box.bottom) continue;
      const point = new DOMPoint(x, y).matrixTransform(shape.getScreenCTM().inverse());
      if (!shape.isPointInFill(point)) continue;
      const fill = rgba(style.fill);
      below = over(fill, below, fill[3] * style.fillOpacity * style.opacity);
    }
    return below;
  }

  function contrast() {
    const found = new Map();
    for (const { node, element, lines } of leaves()) {
      const style = getComputedStyle(element);
      const below = inPicture(element) ? behindInPicture(element, lines[0]) : behind(element);
      if (typeof below === "string") {
        found.set(named(element), `${named(element)} ${quoted(node.data)} stands on ${below}`);
        continue;
      }
      let opacity = inPicture(element) ? +style.fillOpacity : 1;
      for (let one = element; one; one = one.parentElement) opacity *= getComputedStyle(one).opacity;
      const colour = rgba(inPicture(element) ? style.fill : style.color);
      const ratio = contrastOf(over(colour, below, colour[3] * opacity), below);
      if (ratio < 4.5) {
        found.set(named(element), `${named(element)} ${quoted(node.data)} has contrast ${ratio.toFixed(2)}`);
      }
    }
    return [...found.values()];
  }

  // ---- what assistive technology, a keyboard and a thumb need

  function structure() {
    const found = [];
    const root = document.documentElement;
    if (!root.lang) found.push("html has no lang");
    if (!document.title.trim()) found.push("the page has no title");
    if (!document.querySelector("meta[name=viewport]")) found.push("no meta viewport: a phone shows the page small");
    if (document.querySelectorAll("main").length !== 1) found.push("there is not one main");
    const headings = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter(visible);
    if (headings.filter((one) => one.localName === "h1").length !== 1) found.push("there is not one h1");
    let level = 0;
    for (const heading of headings) {
      const next = +heading.localName[1];
      if (next > level + 1) found.push(`${named(heading)} ${quoted(heading.textContent)} follows h${level}`);
      if (!heading.textContent.trim()) found.push(`${named(heading)} is empty`);
      level = next;
    }
    for (const image of document.querySelectorAll("img")) {
      const told = image.alt.trim() || (image.hasAttribute("alt") && image.parentElement.textContent.trim());
      if (!told) found.push(`${named(image)} has no alt, and no words beside it`);
      if (image.complete && image.naturalWidth === 0) found.push(`${named(image)} does not load`);
    }
    for (const svg of document.querySelectorAll("svg")) {
      if (svg.parentElement.closest("svg")) continue;
      const name = svg.getAttribute("aria-label") || svg.getAttribute("aria-labelledby") || svg.querySelector("title");
      if (!name && svg.getAttribute("aria-hidden") !== "true") found.push(`${named(svg)} has no name: aria-label`);
    }
    for (const table of document.querySelectorAll("table")) {
      if (!table.querySelector("th")) found.push(`${named(table)} has no th`);
    }
    const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
    const twice = ids.filter((id, place) => ids.indexOf(id) !== place);
    if (twice.length) found.push(`ids used twice: ${[...new Set(twice)].slice(0, 5).join(", ")}`);
    for (const link of document.querySelectorAll("a[href]")) {
      const target = link.getAttribute("href");
      if (!target.startsWith("#")) found.push(`${named(link)} leads out of the page: ${target.slice(0, 60)}`);
      else if (target.length > 1 && !document.getElementById(decodeURIComponent(target.slice(1)))) {
        found.push(`${named(link)} leads to ${target}, which is not there`);
      }
    }
    for (const field of document.querySelectorAll("input, select, textarea")) {
      if (!field.labels?.length && !field.getAttribute("aria-label")) found.push(`${named(field)} has no label`);
    }
    return found;
  }

  function selectable() {
    const found = new Set();
    const selection = getSelection();
    selection.selectAllChildren(document.body);
    const flat = (text) => text.replace(/\s+/g, "");
    const selected = flat(selection.toString());
    for (const { node, element } of leaves()) {
      const style = getComputedStyle(element);
      if (style.userSelect === "none") found.add(`${named(element)} ${quoted(node.data)} has user-select: none`);
      else if (style.textTransform === "none" && !selected.includes(flat(node.data))) {
        found.add(`${named(element)} ${quoted(node.data)} is not in what select-all selects`);
      }
    }
    selection.removeAllRanges();
    return [...found];
  }

  const INTERACTIVE = "a[href], button, summary, input:not([type=hidden]), select, textarea, [tabindex], [role=button]";

  function interactive() {
    return [...document.querySelectorAll(INTERACTIVE)].filter(visible);
  }

  /** 24 by 24 px is the least of WCAG 2.2; links within a sentence and points of a figure are its exceptions. */
  function targets() {
    const found = new Map(); // one line for all elements of one kind
    for (const element of interactive()) {
      const style = getComputedStyle(element);
      const sentence = style.display === "inline" && flatOwn(element.parentElement).length > element.textContent.trim().length;
      if (inPicture(element) || sentence || element.getAttribute("tabindex") === "-1") continue;
      if (/auto|scroll/.test(style.overflowX) && !element.matches("a, button, summary, input, select")) continue;
      const label = element.matches("input") && element.labels?.[0];
      const box = (label || element).getBoundingClientRect();
      if (box.width < 24 || box.height < 24) {
        const size = `${Math.round(box.width)} x ${Math.round(box.height)}`;
        found.set(named(element), `${named(element)} ${quoted(element.textContent)} is ${size} px: small for a thumb`);
      }
    }
    return [...found.values()];
  }

  const flatOwn = (element) => element.textContent.trim().replace(/\s+/g, " ");

  /** What has the focus now, for the walk with the Tab key; null at the page itself. */
  function focused() {
    const element = document.activeElement;
    if (!element || element === document.body || element === document.documentElement) return null;
    const style = getComputedStyle(element);
    const ring = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1) || style.boxShadow !== "none"
      || (inPicture(element) && style.stroke !== "none" && parseFloat(style.strokeWidth) >= 1);
    if (!element.dataset.walked) element.dataset.walked = "1";
    return { name: named(element), ring, text: quoted(element.textContent) };
  }

  /** Interactive elements that the walk did not reach; those of one figure or group count as reached by one of them. */
  function unreached() {
    const groups = new Set([...document.querySelectorAll("[data-walked]")].map((one) => one.closest("svg, [role=group]")));
    return interactive()
      .filter((one) => !one.dataset.walked && one.getAttribute("tabindex") !== "-1" && !one.disabled)
      .filter((one) => !(one.matches("[type=radio]") && !one.checked))
      .filter((one) => !(one.closest("svg, [role=group]") && groups.has(one.closest("svg, [role=group]"))))
      .map((one) => `${named(one)} ${quoted(one.textContent)} is not reached by the Tab key`);
  }

  const all = { overflow, overlap, cut, squeezed, small, contrast, structure, selectable, targets };
  window.askewChecks = {
    run: (names) => {
      kept = null;
      return names.flatMap((name) => all[name]().map((line) => `${name}: ${line}`));
    },
    count: () => interactive().length,
    focused,
    unreached,
  };
})();
