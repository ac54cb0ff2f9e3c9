-- The page's script, third part: tables that can be sorted, and lists of counters.
return [==[

/* SQL texts that somebody has opened stay open when the data changes. */
const opened = new Set();

function sqlCell(text) {
  const button = make("button", "sql", text);
  button.type = "button";
  const show = () => button.setAttribute("aria-expanded", String(opened.has(text)));
  button.addEventListener("click", () => {
    if (!opened.delete(text)) opened.add(text);
    show();
  });
  show();
  return button;
}

const numeric = { count: true, ms: true, rate: true };

/* A table: {title, wide, empty, columns = [{name, key, kind}], sort = key}. The kinds count, ms, clock and plain are
   those of texts; sql is text that can be opened. */
class Table {
  constructor(about) {
    this.about = about;
    this.key = about.sort || null;
    this.descending = true;
    this.shown = null;
    this.root = make("section", "list" + (about.wide ? " wide" : ""));
    const head = make("div", "head");
    this.note = make("span", "", "");
    head.append(make("h2", "", about.title), this.note);
    this.scroll = make("div", "scroll");
    this.scroll.tabIndex = 0;
    this.scroll.setAttribute("role", "region");
    this.scroll.setAttribute("aria-label", about.title);
    this.table = make("table");
    this.headings = make("tr");
    for (const column of about.columns) this.headings.append(this.heading(column));
    const thead = make("thead");
    thead.append(this.headings);
    this.body = make("tbody");
    this.table.append(thead, this.body);
    this.none = make("p", "empty", about.empty);
    this.scroll.append(this.table);
    this.root.append(head, this.scroll, this.none);
    this.update([]);
  }

  heading(column) {
    const cell = make("th", numeric[column.kind] ? "number" : "");
    cell.scope = "col";
    if (!this.about.sort) {
      cell.textContent = column.name;
      return cell;
    }
    const button = make("button", "", column.name);
    button.type = "button";
    button.addEventListener("click", () => {
      this.descending = this.key === column.key ? !this.descending : numeric[column.kind] === true;
      this.key = column.key;
      this.draw();
    });
    cell.append(button);
    return cell;
  }

  update(rows) {
    const text = JSON.stringify(rows);
    if (text === this.shown) return;
    this.shown = text;
    this.rows = rows;
    this.draw();
  }

  sorted() {
    if (!this.key) return this.rows;
    const sign = this.descending ? -1 : 1;
    const value = (row) => row[this.key] === undefined ? -Infinity : row[this.key];
    return this.rows.slice().sort((a, b) => {
      const x = value(a), y = value(b);
      return sign * (typeof x === "string" && typeof y === "string" ? x.localeCompare(y) : x > y ? 1 : x < y ? -1 : 0);
    });
  }

  draw() {
    this.about.columns.forEach((column, i) => {
      const sort = column.key !== this.key ? "none" : this.descending ? "descending" : "ascending";
      if (this.about.sort) this.headings.children[i].setAttribute("aria-sort", sort);
    });
    this.body.replaceChildren(...this.sorted().map((row) => this.row(row)));
    this.scroll.hidden = this.rows.length === 0;
    this.none.hidden = this.rows.length > 0;
    setText(this.note, this.rows.length ? String(this.rows.length) : "");
  }

  row(row) {
    const line = make("tr");
    for (const column of this.about.columns) {
      const cell = make("td", numeric[column.kind] ? "number" : column.kind === "sql" ? "sql" : "text");
      const value = row[column.key];
      if (column.kind === "sql") {
        cell.append(sqlCell(texts.plain(value)));
      } else {
        cell.textContent = column.kind === "clock" && !isNumber(value) ? texts.plain(value) : texts[column.kind](value);
      }
      line.append(cell);
    }
    return line;
  }
}

/* Counters by name, with how many came in the last minute. */
class Counters {
  constructor(title, empty) {
    this.root = make("section", "list");
    const head = make("div", "head");
    head.append(make("h2", "", title), make("span", "", "and in the last minute"));
    this.list = make("dl");
    this.none = make("p", "empty", empty);
    this.root.append(head, this.list, this.none);
    this.past = [];
    this.entries = new Map();
  }

  /* values: [[name, count, bad]]; the order is theirs. */
  update(time, values) {
    this.past = this.past.filter((entry) => entry.time > time - 60);
    const before = this.past.length ? this.past[0].counts : null;
    const counts = new Map(values.map(([name, count]) => [name, count]));
    this.past.push({ time, counts });
    for (const [name, count, bad] of values) {
      const entry = this.entries.get(name) || this.add(name);
      const more = before ? Math.max(0, count - (before.get(name) || 0)) : 0;
      setText(entry.count, texts.count(count));
      setText(entry.delta, more > 0 ? "+" + texts.count(more) : "");
      entry.delta.className = "delta" + (bad && more > 0 ? " bad" : "");
    }
    this.none.hidden = this.entries.size > 0;
  }

  add(name) {
    const line = make("div");
    const entry = { count: make("dd"), delta: make("dd", "delta") };
    line.append(make("dt", "", name), entry.count, entry.delta);
    this.list.append(line);
    this.entries.set(name, entry);
    return entry;
  }
}
]==]
