-- The page's script, first part: elements, texts for figures, and the samples of the last ten minutes.
return [==[
"use strict";

/* ------------------------------------------------------------- elements */

const byId = (id) => document.getElementById(id);

/* Whatever the data says is set as text, never as markup. */
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function shape(tag, className, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  if (className) element.setAttribute("class", className);
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  return element;
}

/* ---------------------------------------------------------------- texts */

const dash = "\u2013";
const isNumber = (value) => typeof value === "number" && isFinite(value);

const texts = {
  count(value) {
    if (!isNumber(value)) return dash;
    if (Math.abs(value) >= 1e7) return (value / 1e6).toFixed(1) + "\u202fM";
    return Math.round(value).toLocaleString("en-US");
  },
  rate(value) {
    if (!isNumber(value)) return dash;
    return value === 0 ? "0" : value < 10 ? value.toFixed(1) : texts.count(value);
  },
  ms(value) {
    if (!isNumber(value)) return dash;
    if (value === 0) return "0\u202fms";
    if (value < 9.95) return value.toFixed(value < 0.995 ? 2 : 1) + "\u202fms";
    if (value < 999.5) return value.toFixed(0) + "\u202fms";
    if (value < 99950) return (value / 1000).toFixed(value < 9995 ? 2 : 1) + "\u202fs";
    return texts.age(value / 1000);
  },
  age(seconds) {
    if (!isNumber(seconds)) return dash;
    const s = Math.max(0, Math.round(seconds));
    if (s < 60) return s + "\u202fs";
    if (s < 600) return Math.floor(s / 60) + "\u202fmin " + s % 60 + "\u202fs";
    if (s < 3600) return Math.floor(s / 60) + "\u202fmin";
    if (s < 86400) return Math.floor(s / 3600) + "\u202fh " + Math.floor(s % 3600 / 60) + "\u202fmin";
    return Math.floor(s / 86400) + "\u202fd " + Math.floor(s % 86400 / 3600) + "\u202fh";
  },
  clock(seconds) {
    return new Date(seconds * 1000).toLocaleTimeString("en-GB");
  },
  plain(value) {
    return value === undefined || value === null ? dash : String(value);
  },
};

/* -------------------------------------------------------------- samples */

const WINDOW = 600; /* seconds */
const CLOSEST = 1.5; /* samples of several processes may lie closer */

let samples = [];

function remember(list) {
  samples = samples.concat(list).sort((a, b) => a.time - b.time);
  const oldest = (samples.length ? samples[samples.length - 1].time : 0) - WINDOW - 5;
  samples = samples.filter((sample, i) => sample.time > oldest && (i === 0 || sample.time > samples[i - 1].time));
}

/* The value below which a part of the durations between two samples lies: within its bucket it is taken to be as
   likely anywhere. The last count is of all of them. */
function percentile(before, after, bounds, part) {
  const counts = after.map((count, i) => count - (before[i] || 0));
  const total = counts[counts.length - 1];
  if (!(total > 0) || bounds.length === 0) return null;
  const wanted = total * part;
  for (let i = 0; i < bounds.length; i++) {
    if (counts[i] >= wanted) {
      const low = i > 0 ? bounds[i - 1] : 0, under = i > 0 ? counts[i - 1] : 0;
      return low + (bounds[i] - low) * (wanted - under) / (counts[i] - under || 1);
    }
  }
  return bounds[bounds.length - 1];
}

/* What the charts draw: gauges as they are, counters as rates since the sample before. Where a counter has gone back or
   there was no sample for long, there is a gap. */
function pointsOf(bounds) {
  const points = [];
  let before = null;
  for (const sample of samples) {
    if (before && sample.time - before.time < CLOSEST) continue;
    const seconds = before ? sample.time - before.time : 0;
    const known = before && seconds < 15 && sample.queries >= before.queries;
    const rate = (name) => known ? Math.max(0, sample[name] - before[name]) / seconds : null;
    const of = (name, part) => known ? percentile(before[name], sample[name], bounds, part) : null;
    points.push({
      time: sample.time, gap: before !== null && seconds >= 15,
      active: sample.active, idle: sample.idle, connecting: sample.connecting, mending: sample.mending,
      waiting: sample.waiting, queries: rate("queries"), failures: rate("failures"),
      p50: of("query", 0.5), p95: of("query", 0.95), p99: of("query", 0.99), wait95: of("wait", 0.95),
    });
    before = sample;
  }
  return points;
}
]==]
