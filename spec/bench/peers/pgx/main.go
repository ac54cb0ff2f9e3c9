// pgx 4 as a contestant, from the packages of Debian: it answers the runner as ../../contest.h tells.
package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgtype"
	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
)

const (
	keys      = 100000
	pointSQL  = "select * from bench_point where id = $1"
	wideSQL   = "select * from bench_wide"
	insertSQL = "insert into bench_insert values ($1, $2, $3, $4)"
)

var (
	ctx  = context.Background()
	url  = os.Getenv("DATABASE_URL")
	conn *pgx.Conn
)

// A watch adds up what lies between start and stop.
type watch struct {
	operations   int
	seconds, cpu float64
	kb           int
	began        time.Time
	beganCPU     float64
}

func cpuSeconds() float64 {
	var use syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &use))
	return float64(use.Utime.Nano()+use.Stime.Nano()) / 1e9
}

func (w *watch) start() {
	w.beganCPU, w.began = cpuSeconds(), time.Now()
}

func (w *watch) stop(operations int) {
	w.seconds += time.Since(w.began).Seconds()
	w.cpu += cpuSeconds() - w.beganCPU
	w.operations += operations
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func residentKB() int {
	text, err := os.ReadFile("/proc/self/statm")
	must(err)
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	must(err)
	return pages * os.Getpagesize() / 1024
}

func key() int {
	return 1 + rand.Intn(keys)
}

type pointRow struct {
	id     int32
	name   string
	amount int64
	score  float64
	active bool
}

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func onePoint(on querier) {
	var row pointRow
	must(on.QueryRow(ctx, pointSQL, key()).Scan(&row.id, &row.name, &row.amount, &row.score, &row.active))
}

func point(amount int, w *watch) {
	w.start()
	for i := 0; i < amount; i++ {
		onePoint(conn)
	}
	w.stop(amount)
}

func constant(amount int, w *watch) {
	w.start()
	for i := 0; i < amount; i++ {
		var number int32
		must(conn.QueryRow(ctx, "select $1::int", i).Scan(&number))
	}
	w.stop(amount)
}

type wideRow struct {
	id     int32
	big    int64
	score  float64
	name   string
	active bool
	made   time.Time
	price  pgtype.Numeric
	note   *string
}

// The rows of a query one by one.
func eachRow(rows pgx.Rows, err error, use func(row *wideRow)) {
	must(err)
	for rows.Next() {
		var row wideRow
		must(rows.Scan(&row.id, &row.big, &row.score, &row.name, &row.active, &row.made, &row.price, &row.note))
		use(&row)
	}
	must(rows.Err())
}

func wide(amount int, w *watch) {
	for i := 0; i < amount; i++ {
		var all []wideRow
		w.start()
		rows, err := conn.Query(ctx, wideSQL)
		eachRow(rows, err, func(row *wideRow) { all = append(all, *row) })
		w.stop(len(all))
	}
}

func each(amount int, w *watch) {
	count, resident := 0, 0
	w.start()
	rows, err := conn.Query(ctx, "select * from bench_series($1)", amount)
	eachRow(rows, err, func(*wideRow) {
		count++
		if count == keys {
			resident = residentKB()
		}
	})
	w.stop(count)
	w.kb = residentKB() - resident
}

var pools = map[int32]*pgxpool.Pool{}

func poolOf(size int32) *pgxpool.Pool {
	if pools[size] == nil {
		config, err := pgxpool.ParseConfig(url)
		must(err)
		config.MaxConns = size
		pools[size], err = pgxpool.ConnectConfig(ctx, config)
		must(err)
	}
	return pools[size]
}

func pairs(amount int, w *watch) {
	pool := poolOf(8)
	must(pool.Ping(ctx))
	w.start()
	for i := 0; i < amount; i++ {
		one, err := pool.Acquire(ctx)
		must(err)
		one.Release()
	}
	w.stop(amount)
}

// One thread runs Go code, as in the other contestants.
func workers(amount int, w *watch) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	pool, left := poolOf(8), int64(amount)
	var group sync.WaitGroup
	w.start()
	for i := 0; i < 16; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for atomic.AddInt64(&left, -1) >= 0 {
				onePoint(pool)
			}
		}()
	}
	group.Wait()
	w.stop(amount)
}

var insertRows = func() [][]any {
	rows := make([][]any, 10000)
	for i := range rows {
		n := i + 1
		rows[i] = []any{int32(n), "name " + strconv.Itoa(n), float64(n) * 0.5, n%3 == 0}
	}
	return rows
}()

func filling(amount int, w *watch, fill func()) {
	for i := 0; i < amount; i++ {
		_, err := conn.Exec(ctx, "truncate bench_insert")
		must(err)
		w.start()
		fill()
		w.stop(len(insertRows))
	}
}

func insert(amount int, w *watch) {
	filling(amount, w, func() {
		must(conn.BeginFunc(ctx, func(tx pgx.Tx) error {
			batch := &pgx.Batch{}
			for _, row := range insertRows {
				batch.Queue(insertSQL, row...)
			}
			return tx.SendBatch(ctx, batch).Close()
		}))
	})
}

func copyIn(amount int, w *watch) {
	columns := []string{"id", "name", "score", "active"}
	filling(amount, w, func() {
		_, err := conn.CopyFrom(ctx, pgx.Identifier{"bench_insert"}, columns, pgx.CopyFromRows(insertRows))
		must(err)
	})
}

func idle(amount int, w *watch) {
	var held []*pgxpool.Conn
	for i := 0; i < amount; i++ {
		one, err := poolOf(20).Acquire(ctx)
		must(err)
		_, err = one.Exec(ctx, "select 1")
		must(err)
		held = append(held, one)
	}
	for _, one := range held {
		one.Release()
	}
	runtime.GC()
	w.operations, w.kb = amount, residentKB()
}

func answer(run func(int, *watch), amount int) (line string) {
	defer func() {
		if problem := recover(); problem != nil {
			line = "failed\t" + strings.Join(strings.Fields(fmt.Sprint(problem)), " ")
		}
	}()
	var w watch
	runtime.GC()
	run(amount, &w)
	return fmt.Sprintf("ok\toperations=%d\tseconds=%.6f\tcpu=%.6f\tkb=%d", w.operations, w.seconds, w.cpu, w.kb)
}

func main() {
	workloads := map[string]func(int, *watch){
		"W1": point, "W2": constant, "W3": wide, "EACH": each, "W4.pgx": pairs, "W5": workers,
		"W6": insert, "W7": copyIn, "MEM": idle,
	}
	var names []string
	for name := range workloads {
		names = append(names, name)
	}
	var err error
	conn, err = pgx.Connect(ctx, url)
	must(err)
	fmt.Printf("ready\tpgx 4 (%s)\t%s\n", runtime.Version(), strings.Join(names, " "))
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		words := strings.Fields(input.Text())
		amount, err := strconv.Atoi(words[1])
		must(err)
		fmt.Println(answer(workloads[words[0]], amount))
	}
}
