"""psycopg2, one connection. It has no prepared statements of its own: PREPARE and EXECUTE are sent as SQL."""
import io

import contest

try:
    import psycopg2
except ImportError:
    contest.absent("psycopg2 is not installed")

conn = psycopg2.connect(contest.DSN)
conn.autocommit = True
cursor = conn.cursor()
cursor.execute("prepare point(int) as " + contest.POINT + "$1")
cursor.execute("prepare constant(int) as select $1")
cursor.execute("prepare wide as " + contest.WIDE)
cursor.execute("prepare one(int, text, float8, bool) as insert into bench_insert values ($1, $2, $3, $4)")
held = []


def point(amount, watch):
    watch.start()
    for _ in range(amount):
        cursor.execute("execute point(%s)", (contest.key(),))
        assert cursor.fetchone()[0]
    watch.stop(amount)


def constant(amount, watch):
    watch.start()
    for i in range(amount):
        cursor.execute("execute constant(%s)", (i,))
        assert cursor.fetchone()[0] == i
    watch.stop(amount)


def wide(amount, watch):
    for _ in range(amount):
        watch.start()
        cursor.execute("execute wide")
        rows = cursor.fetchall()
        watch.stop(len(rows))


def filling(amount, watch, fill):
    for _ in range(amount):
        cursor.execute("truncate bench_insert")
        watch.start()
        fill()
        watch.stop(len(contest.INSERT_ROWS))


def insert(amount, watch):
    def fill():
        cursor.execute("begin")
        cursor.executemany("execute one(%s, %s, %s, %s)", contest.INSERT_ROWS)
        cursor.execute("commit")
    filling(amount, watch, fill)


def copy(amount, watch):
    def fill():
        text = "".join(f"{i}\t{name}\t{score}\t{active}\n" for i, name, score, active in contest.INSERT_ROWS)
        cursor.copy_expert("copy bench_insert from stdin", io.StringIO(text))
    filling(amount, watch, fill)


def idle(amount, watch):
    while len(held) < amount:
        held.append(psycopg2.connect(contest.DSN))
        held[-1].cursor().execute("select 1")
    watch.resident(amount)


contest.serve("psycopg2 " + psycopg2.__version__.split()[0], {
    "W1": point, "W2": constant, "W3": wide, "W6": insert, "W7": copy, "MEM": idle,
})
