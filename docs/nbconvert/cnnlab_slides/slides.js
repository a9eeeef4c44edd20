// Breaks slides that are taller than the screen, then starts reveal.js.
(() => {
  const WIDTH = 1600;
  const HEIGHT = 1000;
  const USED = 960; // leaves room for the slide's number
  const SMALLEST = 0.7; // of its size; what is still too tall can be scrolled

  const ROWS = "tr:has(td), table ~ *"; // of a table, and what stands below it

  const bottom = (element) => element.getBoundingClientRect().bottom;
  const top = (element) => element.getBoundingClientRect().top;
  const height = (element) => element.getBoundingClientRect().height;

  // What a cell can be cut between: blocks of text; the code, each output, a long table's rows.
  const parts = (cell) => {
    const text = cell.querySelector(".jp-RenderedMarkdown");
    if (text) return [...text.children];
    const outputs = [...cell.querySelectorAll(".jp-Cell-inputWrapper, .jp-OutputArea-child")];
    return outputs.flatMap((output) =>
      output.classList.contains("long") ? [...output.querySelectorAll(ROWS)] : [output]
    );
  };

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
      return before(place) ? place : before([cell, at]) ? [cell, at] : null;
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
      cell.querySelectorAll(".long:not(:has(td))").forEach((table) => table.remove());
      next.append(rest);
    } else {
      next.append(cell);
    }
    next.append(...cells.slice(cells.indexOf(cell) + 1));
    return next;
  }

  function fit(section) {
    for (const output of section.querySelectorAll(".jp-OutputArea-child:has(td)")) {
      const table = output.querySelector("table");
      if (table.scrollWidth > WIDTH) output.style.zoom = WIDTH / table.scrollWidth;
      output.classList.toggle("long", height(output) > USED);
    }
    for (let place; (place = overflow(section)); ) section = cut(section, ...place);
  }

  // Makes smaller what nothing could be cut from.
  function shrink(section) {
    const size = height(section);
    if (size <= HEIGHT) return;
    section.firstElementChild.style.zoom = Math.max(SMALLEST, HEIGHT / size);
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
