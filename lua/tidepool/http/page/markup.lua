-- The page's HTML. The style and the script are put in by page/init.lua; what is shown is made by the script.
return [==[
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>tidepool</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath
 d='M1 9c2-3 4-3 7 0s5 3 7 0v6H1z' fill='%232a78d6'/%3E%3C/svg%3E">
<style>@STYLE@</style>
</head>
<body>
<header>
  <h1><span id="pool">tidepool</span> <small id="service"></small></h1>
  <p id="verdict" class="badge" role="status">loading</p>
  <p id="since"></p>
  <p id="freshness"><span id="pulse" aria-hidden="true"></span><span id="updated">waiting for data</span></p>
</header>
<p id="reasons" class="reasons"></p>
<main id="main" aria-busy="true">
  <section id="tiles" class="tiles" aria-label="At a glance"></section>
  <section id="charts" class="charts" aria-label="The last ten minutes"></section>
  <section id="lists" class="lists"></section>
</main>
<noscript><p class="reasons">This page needs JavaScript. What it shows is in <a href="data.json">data.json</a>.</p>
</noscript>
<footer><span id="version"></span></footer>
<script>@SCRIPT@</script>
</body>
</html>
]==]
