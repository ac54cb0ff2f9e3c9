"""psycopg 3, one synchronous connection."""
import contest

try:
    import psycopg
except ImportError:
    contest.absent("psycopg 3 is not installed")

conn = psycopg.connect(contest.DSN, autocommit=True)
cursor = conn.cursor()
held = []


def point(amount, watch):
    watch.start()
    for _ in range(amount):
        row = cursor.execute(contest.POINT + "%s", (contest.key(),), prepare=True).fetchone()
        assert row[0]
    watch.stop(amount)


def constant(amount, watch):
    watch.start()
    for i in range(amount):
        assert cursor.execute("select %s::int", (i,), prepare=True).fetchone()[0] == i
    watch.stop(amount)


def wide(amount, watch):
    if psycopg.pq.__impl__ == "python":
        amount = amount // 5 + 1  # without its part in C a result takes seconds
    for _ in range(amount):
        watch.start()
        rows = cursor.execute(contest.WIDE, prepare=True).fetchall()
        watch.stop(len(rows))


def filling(amount, watch, fill):
    for _ in range(amount):
        cursor.execute("truncate bench_insert")
        watch.start()
        fill()
        watch.stop(len(contest.INSERT_ROWS))


def insert(amount, watch):
    def fill():
        with conn.transaction():  # executemany sends a pipeline
            cursor.executemany("insert into bench_insert values (%s, %s, %s, %s)", contest.INSERT_ROWS)
    filling(amount, watch, fill)


def copy(amount, watch):
    def fill():
        with cursor.copy("copy bench_insert from stdin") as target:
            for row in contest.INSERT_ROWS:
                target.write_row(row)
    filling(amount, watch, fill)


def idle(amount, watch):
    while len(held) < amount:
        held.append(psycopg.connect(contest.DSN, autocommit=True))
        held[-1].execute("select 1").fetchone()
    watch.resident(amount)


contest.serve(f"psycopg {psycopg.__version__} ({psycopg.pq.__impl__})", {
    "W1": point, "W2": constant, "W3": wide, "W6": insert, "W7": copy, "MEM": idle,
})
