// A page that is watched: the file is read again every few seconds, and looks as its reader left it.
{
  const QUIET = 3000; // milliseconds without a touch before the page may change under the reader
  const of = (block) => [block.querySelector("input"), [...block.querySelectorAll("select")], [...block.querySelectorAll("th")]];
  const key = (details) => {
    const host = details.closest("[id]");
    return `${host.id} ${[...host.querySelectorAll("details")].indexOf(details)}`;
  };
  const keep = () => {
    const tables = {};
    for (const block of document.querySelectorAll(".table")) {
      const [words, choices, heads] = of(block), sorted = heads.findIndex((head) => head.ariaSort);
      tables[block.id] = {
        words: words.value, focus: document.activeElement === words, choices: choices.map((choice) => choice.value),
        column: sorted < 0 ? "" : heads[sorted].textContent, way: sorted < 0 ? "" : heads[sorted].ariaSort,
      };
    }
    const open = [...document.querySelectorAll("details[open]")].map(key);
    history.replaceState({ tables, open, x: scrollX, y: scrollY }, "");
  };
  const restore = ({ tables, open, x, y }) => {
    for (const block of document.querySelectorAll(".table")) {
      const before = tables[block.id], [words, choices, heads] = of(block);
      if (before === undefined) continue;
      words.value = before.words;
      choices.forEach((choice, n) => { choice.value = before.choices[n] ?? ""; if (choice.selectedIndex < 0) choice.value = ""; });
      words.dispatchEvent(new Event("input"));
      const head = heads.find((each) => before.way && each.textContent === before.column);
      for (let n = 0; head && head.ariaSort !== before.way && n < 2; n++) head.querySelector("button").click();
      if (before.focus) words.focus({ preventScroll: true });
    }
    for (const details of document.querySelectorAll("details")) details.open = open.includes(key(details));
    scrollTo(x, y);
  };
  if (history.state) restore(history.state);
  let touched = 0;
  const touch = () => { touched = Date.now(); };
  for (const kind of ["pointermove", "pointerdown", "keydown", "wheel", "touchmove"]) addEventListener(kind, touch, { passive: true });
  const again = () => {
    if (document.hidden || Date.now() - touched < QUIET) { setTimeout(again, 1000); return; }
    keep();
    location.reload();
  };
  setTimeout(again, 1000 * Number(document.body.dataset.again));
}
