// Breaks slides that are taller than the screen, then starts reveal.js.
(() => {
  const WIDTH = 1600;
  const HEIGHT = 1000;
  const USED = 960; // leaves room for the slide's number
  const SMALLEST = 0.7; // of its size; what is still too tall can be scrolled

  const PROMPTS = ".jp-Collapser, .jp-InputPrompt, .jp-OutputPrompt";

  const bottom = (element) => element.getBoundingClientRect().bottom;
  const top = (element) => element.getBoundingClientRect().top;
  const height = (element) => element.getBoundingClientRect().height;

  // What a cell can be cut between: blocks of text; the code and each output; and in turn the blocks
  // or rows of one that is "long". What stays on both sides, as a table's head, is not in it.
  const parts = (cell) => {
    const text = cell.querySelector(".jp-RenderedMarkdown");
    const outputs = cell.querySelectorAll(".jp-Cell-inputWrapper, .jp-OutputArea-child");
    return [...(text ? text.children : outputs)].flatMap(divide);
  };
  const divide = (element) => {
    if (element.matches(`thead, tr:not(:has(td)), style, ${PROMPTS}`)) return [];
    return element.classList.contains("long") ? [...element.children].flatMap(divide) : [element];
  };

  // Says what is taller than the screen and made of several things.
  function mark(element) {
    if (height(element) <= USED || element.matches("pre, svg, img")) return;
    element.classList.toggle("long", element.children.length > 0);
    for (const child of element.children) mark(child);
  }

  // Whether a part has to stay with what follows: a heading, its minutes, "Here it is:".
  const leads = (part) =>
    /^H\d$/.test(part.tagName) ||
    (part.tagName === "P" && /:\s*$/.test(part.textContent)) ||
    part.querySelector(":scope > :is(strong, em):only-child")?.textContent === part.textContent;

  // The part before part number `at` of a cell, as [cell, at] too.
  function before([cell, at]) {
    if (at > 0) return [cell, at - 1];
    const previous = cell.previousElementSibling;
    return previous && [previous, parts(previous).length - 1];
  }

  // The part after it.
  const after = ([cell, at]) => {
    if (at + 1 < parts(cell).length) return [cell, at + 1];
    return cell.nextElementSibling && [cell.nextElementSibling, 0];
  };

  // Where a slide is to be cut: before the first part that ends below the screen, or a little
  // earlier, to leave code with its picture and a text with what it leads to.
  function overflow(section) {
    const end = top(section) + USED;
    for (const cell of section.children) {
      const at = parts(cell).findIndex((part) => bottom(part) > end);
      if (at < 0) continue;
      const whole = cell.classList.contains("jp-CodeCell") && height(cell) <= USED;
      let place = whole && top(cell) - top(section) > 0.4 * USED ? [cell, 0] : [cell, at];
      for (let b = before(place); b && leads(parts(b[0])[b[1]]); b = before(place)) place = b;
      if (!before(place)) place = [cell, at];
      return before(place) ? place : after(place);
    }
    return null;
  }

  // Moves what stands from part number `at` of a cell on to a slide of its own.
  function cut(section, cell, at) {
    const next = document.createElement("section");
    const cells = [...section.children];
    section.after(next);
    if (at > 0) {
      const rest = cell.cloneNode(true);
      parts(rest).slice(0, at).forEach((part) => part.remove());
      parts(cell).slice(at).forEach((part) => part.remove());
      for (const empty of cell.querySelectorAll(".long")) if (!divide(empty).length) empty.remove();
      next.append(rest);
    } else {
      next.append(cell);
    }
    next.append(...cells.slice(cells.indexOf(cell) + 1));
    return next;
  }

  function fit(section) {
    for (const table of section.querySelectorAll("table")) {
      if (table.scrollWidth > WIDTH) table.style.zoom = WIDTH / table.scrollWidth;
    }
    for (const cell of section.children) parts(cell).forEach(mark);
    for (let place; (place = overflow(section)); ) section = cut(section, ...place);
  }

  // Makes smaller what nothing could be cut from.
  function shrink(section) {
    const size = height(section);
    if (size <= HEIGHT) return;
    for (const cell of section.children) cell.style.zoom = Math.max(SMALLEST, HEIGHT / size);
    if (height(section) > HEIGHT) section.classList.add("tall");
  }

  window.addEventListener("load", async () => {
    if (window.MathJax.startup) await window.MathJax.startup.promise;
    document.body.classList.add("measured");
    document.querySelectorAll(".slides > section > section").forEach(fit);
    document.querySelectorAll(".slides > section > section").forEach(shrink);
    document.body.classList.remove("measured");
    Reveal.initialize({
      width: WIDTH,
      height: HEIGHT,
      margin: 0.04,
      center: false,
      hash: true,
      slideNumber: "c/t",
      transition: "none",
    });
  });
})();
