-- The page's script, second part: charts over time, drawn by hand as SVG.
return [==[

/* The least of 1, 2, 4, 10, 20, 40 ... that is not below the value: half of it is as round. */
function roundUp(value) {
  const ten = Math.pow(10, Math.floor(Math.log10(value)));
  for (const step of [1, 2, 4, 10]) {
    if (value <= step * ten * 1.0000001) return step * ten;
  }
}

/* A chart: {title, unit = a function that makes text, series = [{name, key, color}], stacked, least}. */
class Chart {
  constructor(about) {
    this.about = about;
    this.points = [];
    this.at = null; /* the time that is pointed at */
    this.root = make("figure", "chart");
    const head = make("figcaption", "head");
    head.append(make("h2", "", about.title));
    this.moment = make("span", "moment", "");
    head.append(this.moment);
    this.plot = make("div", "plot");
    this.plot.tabIndex = 0;
    this.plot.setAttribute("role", "img");
    this.svg = shape("svg", "", { viewBox: "0 0 600 100", preserveAspectRatio: "none", "aria-hidden": "true" });
    this.plot.append(this.svg);
    this.ticks = [0, 50, 100].map((y) => {
      const tick = make("span", "tick", "");
      tick.style.top = y + "%";
      this.plot.append(tick);
      return tick;
    });
    this.none = make("span", "none", "no data yet");
    this.plot.append(this.none);
    const times = make("div", "times");
    for (const text of ["10 min ago", "5 min", "now"]) times.append(make("span", "", text));
    this.root.append(head, this.plot, times, this.makeLegend());
    this.listen();
  }

  makeLegend() {
    const legend = make("ul", "legend");
    this.values = this.about.series.map((series) => {
      const item = make("li");
      const value = make("b", "", dash);
      item.append(make("i", series.color), make("span", "", series.name), value);
      legend.append(item);
      return value;
    });
    return legend;
  }

  listen() {
    this.plot.addEventListener("pointermove", (event) => {
      const box = this.svg.getBoundingClientRect();
      this.pointAt(this.end - WINDOW * (1 - (event.clientX - box.left) / box.width));
    });
    this.plot.addEventListener("pointerleave", () => this.pointAt(null));
    this.plot.addEventListener("blur", () => this.pointAt(null));
    this.plot.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") this.pointAt(null);
      if (!step || this.points.length === 0) return;
      const here = this.nearest();
      const next = Math.min(Math.max(this.points.indexOf(here) + step, 0), this.points.length - 1);
      this.pointAt(this.points[next].time);
      event.preventDefault();
    });
  }

  pointAt(time) {
    this.at = time;
    this.draw();
  }

  /* The point that is told in figures: the nearest to where somebody points, else the last. */
  nearest() {
    if (this.at === null) return this.points[this.points.length - 1];
    return this.points.reduce((best, point) =>
      Math.abs(point.time - this.at) < Math.abs(best.time - this.at) ? point : best, this.points[0]);
  }

  update(points, bound) {
    this.points = points;
    this.bound = bound;
    this.end = points.length ? points[points.length - 1].time : 0;
    this.draw();
  }

  top() {
    let most = this.about.least;
    for (const point of this.points) {
      const values = this.about.series.map((series) => point[series.key] || 0);
      most = Math.max(most, this.about.stacked ? values.reduce((a, b) => a + b, 0) : Math.max(...values));
    }
    return roundUp(this.bound ? Math.max(most, this.bound) : most);
  }

  x(time) { return 600 * (1 - (this.end - time) / WINDOW); }

  /* Runs of points that belong together, for one series; each is [x, low, high] in the units of the drawing. */
  runs(index, top) {
    const runs = [];
    let run = [];
    const finish = () => { if (run.length) runs.push(run); run = []; };
    for (const point of this.points) {
      const keys = this.about.series.map((series) => series.key);
      const value = point[keys[index]];
      if (point.gap || value === null) finish();
      if (value === null || point.time < this.end - WINDOW) continue;
      const below = this.about.stacked ? keys.slice(0, index).reduce((sum, key) => sum + (point[key] || 0), 0) : 0;
      run.push([this.x(point.time), 100 - 100 * below / top, 100 - 100 * (below + value) / top]);
    }
    finish();
    return runs;
  }

  drawSeries(series, index, top) {
    const at = (x, y) => x.toFixed(1) + " " + y.toFixed(2);
    for (const run of this.runs(index, top)) {
      const high = run.map((p) => at(p[0], p[2]));
      if (this.about.stacked) {
        const low = run.map((p) => at(p[0], p[1])).reverse();
        this.svg.append(shape("path", "area " + series.color, { d: "M" + high.concat(low).join("L") + "Z" }));
      } else {
        const alone = run.length === 1 ? "h0.01" : "";
        this.svg.append(shape("path", "curve " + series.color, { d: "M" + high.join("L") + alone }));
      }
    }
  }

  draw() {
    const top = this.top();
    this.svg.replaceChildren();
    for (const y of [0, 50, 100]) {
      this.svg.append(shape("line", "grid", { x1: 0, x2: 600, y1: y, y2: y }));
    }
    this.about.series.forEach((series, index) => this.drawSeries(series, index, top));
    if (this.bound) {
      const y = 100 - 100 * this.bound / top;
      this.svg.append(shape("line", "bound", { x1: 0, x2: 600, y1: y, y2: y }));
    }
    this.ticks.forEach((tick, i) => setText(tick, this.about.unit(top * (2 - i) / 2)));
    this.none.hidden = this.points.length > 1;
    this.tell();
  }

  tell() {
    const point = this.points.length ? this.nearest() : null;
    const words = this.about.series.map((series, i) => {
      const text = this.about.unit(point ? point[series.key] : null);
      setText(this.values[i], text);
      return series.name + " " + text;
    });
    if (point && this.at !== null) {
      const x = this.x(point.time);
      this.svg.append(shape("line", "cross", { x1: x, x2: x, y1: 0, y2: 100 }));
    }
    setText(this.moment, point && this.at !== null ? texts.clock(point.time) : "");
    this.plot.setAttribute("aria-label", this.about.title + ": " + words.join(", "));
  }
}
]==]
