-- The page's style: light and dark as the reader's system has it, down to the width of a phone.
return [==[

:root {
  --page: #f6f7f9; --card: #ffffff; --line: #dde1e7; --grid: #e8ebf0; --text: #17202b; --dim: #5a6675;
  --blue: #2467c9; --sky: #a9cdf5; --amber: #c77700; --violet: #8150c4; --red: #c22c38; --green: #1d7f4a;
  --good: #1d7f4a; --warn: #9a5b00; --bad: #c22c38; --good-back: #e2f3e9; --warn-back: #fdf0d8; --bad-back: #fde5e7;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #11151b; --card: #1a2029; --line: #2c3542; --grid: #262e3a; --text: #e8edf3; --dim: #9aa7b8;
    --blue: #6ba6f2; --sky: #2f4e77; --amber: #e5a23a; --violet: #b18bea; --red: #f0717b; --green: #5bc28a;
    --good: #6fd39c; --warn: #f0b95b; --bad: #ff8d96; --good-back: #173325; --warn-back: #3a2c10; --bad-back: #43191d;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body {
  margin: 0 auto; padding: 16px 20px; max-width: 1500px; background: var(--page); color: var(--text);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
h1, h2, p, ul, dl, dd, figure { margin: 0; padding: 0; }
h1 { font-size: 20px; font-weight: 650; overflow-wrap: anywhere; }
h1 small { font-size: 14px; font-weight: 400; color: var(--dim); }
h2 { font-size: 14px; font-weight: 650; }
:focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; border-radius: 4px; }
header { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 14px; min-height: 34px; }
#since { color: var(--dim); }
#freshness { margin-left: auto; color: var(--dim); display: flex; align-items: center; gap: 7px; }
#pulse { width: 9px; height: 9px; border-radius: 50%; background: var(--dim); }
.live #pulse { background: var(--green); }
.badge { padding: 2px 12px; border-radius: 99px; font-weight: 650; background: var(--grid); min-width: 96px;
  text-align: center; }
.badge.good { color: var(--good); background: var(--good-back); }
.badge.warn { color: var(--warn); background: var(--warn-back); }
.badge.bad { color: var(--bad); background: var(--bad-back); }
.reasons { min-height: 22px; margin: 6px 0 8px; color: var(--dim); overflow-wrap: anywhere; }
.reasons.bad { color: var(--bad); }
.reasons.warn { color: var(--warn); }
main { transition: opacity .2s; }
.stale main { opacity: .45; filter: grayscale(1); }
.tiles { display: grid; grid-template-columns: repeat(8, minmax(0, 1fr)); gap: 10px; }
.tile, .chart, .list { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px 14px; }
.tile .name { color: var(--dim); font-size: 13px; }
.tile .value { font-size: 25px; font-weight: 600; line-height: 1.25; white-space: nowrap; letter-spacing: -.01em; }
.tile .value.warn { color: var(--warn); }
.tile .value.bad { color: var(--bad); }
.tile .more { color: var(--dim); font-size: 12.5px; min-height: 18px; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px; margin-top: 10px; }
.chart .head { display: flex; justify-content: space-between; gap: 10px; }
.chart .moment { color: var(--dim); font-size: 12.5px; }
.plot { position: relative; height: 150px; margin: 8px 0 2px; touch-action: pan-y; }
.plot svg { position: absolute; inset: 0 46px 0 0; width: calc(100% - 46px); height: 100%; overflow: visible; }
.plot .tick { position: absolute; right: 0; width: 42px; font-size: 11.5px; line-height: 1; color: var(--dim);
  transform: translateY(-50%); white-space: nowrap; }
.plot .none { position: absolute; inset: 0 46px 0 0; display: grid; place-items: center; color: var(--dim); }
.times { display: flex; justify-content: space-between; margin-right: 46px; color: var(--dim); font-size: 11.5px; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 2px 16px; margin-top: 6px; min-height: 21px; }
.legend li { display: flex; align-items: center; gap: 6px; }
.legend i { width: 11px; height: 11px; border-radius: 3px; }
.legend b { font-weight: 600; min-width: 34px; }
.grid { stroke: var(--grid); stroke-width: 1; vector-effect: non-scaling-stroke; }
.cross { stroke: var(--dim); stroke-width: 1; vector-effect: non-scaling-stroke; }
.bound { stroke: var(--dim); stroke-width: 1; stroke-dasharray: 4 4; vector-effect: non-scaling-stroke; }
.curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.area { stroke: none; }
.curve.blue { stroke: var(--blue); } .area.blue, i.blue { fill: var(--blue); background: var(--blue); }
.curve.sky { stroke: var(--sky); } .area.sky, i.sky { fill: var(--sky); background: var(--sky); }
.curve.amber { stroke: var(--amber); } .area.amber, i.amber { fill: var(--amber); background: var(--amber); }
.curve.violet { stroke: var(--violet); } .area.violet, i.violet { fill: var(--violet); background: var(--violet); }
.curve.red { stroke: var(--red); } .area.red, i.red { fill: var(--red); background: var(--red); }
.curve.green { stroke: var(--green); } .area.green, i.green { fill: var(--green); background: var(--green); }
.lists { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px; margin-top: 10px;
  align-items: start; }
.list.wide { grid-column: 1 / -1; }
.list .head { display: flex; align-items: baseline; gap: 8px; margin-bottom: 6px; }
.list .head span { color: var(--dim); font-size: 12.5px; }
.scroll { overflow-x: auto; max-height: 420px; overflow-y: auto; }
.empty { color: var(--dim); padding: 4px 0; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 5px 10px 5px 0; border-top: 1px solid var(--grid); vertical-align: top; }
th { border-top: 0; color: var(--dim); font-weight: 500; white-space: nowrap; position: sticky; top: 0;
  background: var(--card); }
th.number, td.number { text-align: right; white-space: nowrap; }
td.text { white-space: nowrap; }
td.sql { white-space: normal; width: 60%; }
th button { all: unset; cursor: pointer; }
th button:focus-visible { outline: 2px solid var(--blue); }
th button::after { content: "\2002"; }
th[aria-sort=ascending] button::after { content: "\2009\2191"; }
th[aria-sort=descending] button::after { content: "\2009\2193"; }
button.sql {
  all: unset; cursor: pointer; font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, monospace;
  overflow-wrap: anywhere; min-width: 200px; display: -webkit-box; -webkit-box-orient: vertical;
  -webkit-line-clamp: 2; overflow: hidden;
}
button.sql:focus-visible { outline: 2px solid var(--blue); }
button.sql[aria-expanded=true] { display: block; white-space: pre-wrap; }
dl { display: grid; grid-template-columns: minmax(0, 1fr) auto auto; }
dl > div { display: contents; }
dt, dd { padding: 4px 0; border-top: 1px solid var(--grid); }
dl > div:first-child > * { border-top: 0; }
dd { text-align: right; padding-left: 12px; }
dd.delta { color: var(--dim); min-width: 74px; }
dd.delta.bad { color: var(--bad); }
footer { margin-top: 14px; color: var(--dim); font-size: 12.5px; }
@media (max-width: 1240px) { .tiles { grid-template-columns: repeat(4, minmax(0, 1fr)); } }
@media (max-width: 760px) {
  body { padding: 12px 12px; }
  #freshness { margin-left: 0; }
  .charts, .lists { grid-template-columns: minmax(0, 1fr); }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 8px; }
  .tile, .chart, .list { padding: 10px 12px; }
  .tile .value { font-size: 22px; }
  .plot { height: 130px; }
}
@media (prefers-reduced-motion: reduce) { main { transition: none; } }
]==]
