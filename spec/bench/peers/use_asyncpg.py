"""asyncpg, on uvloop where there is one."""
import asyncio

import contest

try:
    import asyncpg
except ImportError:
    contest.absent("asyncpg is not installed")

loop, word = contest.new_loop()
conn = loop.run_until_complete(asyncpg.connect(contest.DSN))
pools = {}


async def pool_of(size):
    if size not in pools:
        pools[size] = await asyncpg.create_pool(contest.DSN, min_size=0, max_size=size)
    return pools[size]


async def point(amount, watch):
    statement = await conn.prepare(contest.POINT + "$1")
    watch.start()
    for _ in range(amount):
        row = await statement.fetchrow(contest.key())
        assert row["id"]
    watch.stop(amount)


async def constant(amount, watch):
    statement = await conn.prepare("select $1::int")
    watch.start()
    for i in range(amount):
        assert await statement.fetchval(i) == i
    watch.stop(amount)


async def wide(amount, watch):
    statement = await conn.prepare(contest.WIDE)
    for _ in range(amount):
        watch.start()
        rows = await statement.fetch()
        watch.stop(len(rows))


async def pairs(amount, watch):
    pool = await pool_of(8)
    amount = amount // 500 + 1  # each release is a round trip
    watch.start()
    for _ in range(amount):
        await pool.release(await pool.acquire())
    watch.stop(amount)


async def workers(amount, watch):
    pool = await pool_of(8)
    left = amount

    async def work():
        nonlocal left
        while left > 0:
            left -= 1
            async with pool.acquire() as one:
                await one.fetchrow(contest.POINT + "$1", contest.key())

    watch.start()
    await asyncio.gather(*(work() for _ in range(16)))
    watch.stop(amount)


async def filling(amount, watch, fill):
    for _ in range(amount):
        await conn.execute("truncate bench_insert")
        watch.start()
        await fill()
        watch.stop(len(contest.INSERT_ROWS))


async def insert(amount, watch):
    async def fill():
        async with conn.transaction():
            await conn.executemany("insert into bench_insert values ($1, $2, $3, $4)", contest.INSERT_ROWS)
    await filling(amount, watch, fill)


async def copy(amount, watch):
    async def fill():
        await conn.copy_records_to_table("bench_insert", records=contest.INSERT_ROWS)
    await filling(amount, watch, fill)


async def idle(amount, watch):
    pool = await pool_of(20)
    held = [await pool.acquire() for _ in range(amount)]
    for one in held:
        await one.fetchval("select 1")
    for one in held:
        await pool.release(one)
    watch.resident(amount)


contest.serve(f"asyncpg {asyncpg.__version__}{word}", {
    "W1": point, "W2": constant, "W3": wide, "W4.asyncpg": pairs, "W5": workers, "W6": insert, "W7": copy, "MEM": idle,
}, loop)
