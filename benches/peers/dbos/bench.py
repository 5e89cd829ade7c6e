"""Measures durable runs of five steps with DBOS: as many at a time as asked for, in an empty database.

`migrate` prepares the database, `measure` prints one line of JSON. Two modes: `direct` calls the workflow where it is
wanted, as many threads as runs at a time; `queue` puts it on a queue, from which the same processes take it. A run
counts once its outcome is committed. Fails if the database does not hold what was asked for.
"""
import argparse
import importlib.metadata
import json
import multiprocessing
import signal
import statistics
import sys
import threading
import time

import psycopg

STEPS = 5
QUEUE = "bench"
value_bytes = 200
ended = threading.Semaphore(0)


def configuration(arguments, process):
    share = -(-arguments.concurrency // arguments.processes)
    return {
        "name": "peer-bench",
        "system_database_url": arguments.database,
        "executor_id": f"bench-{process}",
        "application_version": "1",
        "log_level": "ERROR",
        # A connection for each run of this process, and some for the library's own threads.
        "sys_db_pool_size": arguments.pool or share + 8,
        "db_engine_kwargs": {"pool_pre_ping": arguments.pre_ping},
    }


def register():
    """The class that keeps the library's state in this process, and the workflow."""
    from dbos import DBOS

    @DBOS.step()
    def step(order, carried):
        return {"order": order, "value": "x" * max(0, value_bytes - 25)}

    @DBOS.workflow()
    def workflow(number):
        value = number
        for order in range(STEPS):
            value = step(order, value)
        ended.release()

    return DBOS, workflow


def process(arguments, index, ready, go, results):
    global value_bytes
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    value_bytes = arguments.value_bytes
    dbos, workflow = register()
    dbos(config=configuration(arguments, index))
    share = arguments.concurrency // arguments.processes + (index < arguments.concurrency % arguments.processes)
    if arguments.mode == "queue":
        dbos.listen_queues([QUEUE])
    dbos.launch()
    if arguments.mode == "queue" and index == 0:
        dbos.register_queue(
            QUEUE,
            worker_concurrency=-(-arguments.concurrency // arguments.processes),
            polling_interval_sec=arguments.polling,
        )
    ready.release()
    if not go.wait(timeout=120):
        return
    end = go_time.value + arguments.warm_up + arguments.seconds
    times, errors = [], []

    def direct():
        try:
            while time.time() < end:
                begun = time.time()
                workflow(0)
                times.append((time.time(), time.time() - begun))
        except Exception as error:
            errors.append(repr(error))

    def enqueue():
        """Keeps twice as many runs in the database as may run, so that no worker waits for the next."""
        try:
            while waiting.acquire(blocking=False):
                dbos.enqueue_workflow(QUEUE, workflow, 0)
            while time.time() < end:
                if ended.acquire(timeout=0.1):
                    dbos.enqueue_workflow(QUEUE, workflow, 0)
        except Exception as error:
            errors.append(repr(error))

    waiting = threading.Semaphore(2 * share)
    # Eight runs are begun by one thread: it only puts them on the queue.
    count = share if arguments.mode == "direct" else -(-share // 8)
    threads = [threading.Thread(target=direct if arguments.mode == "direct" else enqueue) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if arguments.mode == "queue":
        wait_for_the_rest(arguments)
    dbos.destroy(workflow_completion_timeout_sec=30)
    results.put((times, errors))


def wait_for_the_rest(arguments):
    with psycopg.connect(arguments.database, autocommit=True) as connection:
        deadline = time.time() + 60
        query = "SELECT count(*) FROM dbos.workflow_status WHERE queue_name = %s AND status <> 'SUCCESS'"
        while connection.execute(query, (QUEUE,)).fetchone()[0] > 0:
            if time.time() > deadline:
                raise SystemExit("runs on the queue did not end")
            time.sleep(0.1)


def measure(arguments):
    global go_time
    # Whoever ends this process ends its children too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    context = multiprocessing.get_context("fork")
    go_time = context.Value("d", 0.0)
    ready, go, results = context.Semaphore(0), context.Event(), context.Queue()
    children = [
        context.Process(target=process, args=(arguments, index, ready, go, results), daemon=True)
        for index in range(arguments.processes)
    ]
    for child in children:
        child.start()
    for _ in children:
        if not ready.acquire(timeout=60):
            raise SystemExit("a process did not start")
    if arguments.mode == "queue":
        time.sleep(2.5)  # the library looks for new queues once in a second
    go_time.value = time.time()
    go.set()
    limit = arguments.warm_up + arguments.seconds + 120
    answers = [results.get(timeout=limit) for _ in children]
    for child in children:
        child.join(timeout=60)
    errors = [error for _, of_process in answers for error in of_process]
    if errors:
        raise SystemExit(f"{len(errors)} runs failed, the first with: {errors[0]}")
    begin = go_time.value + arguments.warm_up
    end = begin + arguments.seconds
    with psycopg.connect(arguments.database) as connection:
        runs = connection.execute("SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'").fetchone()[0]
        steps = connection.execute("SELECT count(*) FROM dbos.operation_outputs").fetchone()[0]
        everything = connection.execute("SELECT count(*) FROM dbos.workflow_status").fetchone()[0]
        queued = connection.execute(
            "SELECT completed_at / 1e3, (completed_at - started_at_epoch_ms) / 1e3 FROM dbos.workflow_status"
            " WHERE queue_name = %s",
            (QUEUE,),
        ).fetchall()
    times = [pair for of_process, _ in answers for pair in of_process] or [tuple(map(float, row)) for row in queued]
    if runs != len(times) or everything != runs or steps != runs * STEPS:
        raise SystemExit(f"{len(times)} runs ended, but the database holds {runs} of {everything}, with {steps} steps")
    counted = [took for at, took in times if begin <= at < end]
    rate = len(counted) / arguments.seconds
    print(
        json.dumps(
            {
                "peer": "dbos",
                "version": importlib.metadata.version("dbos"),
                "mode": arguments.mode,
                "concurrency": arguments.concurrency,
                "value_bytes": arguments.value_bytes,
                "runs_per_second": rate,
                "steps_per_second": rate * STEPS,
                "p50_ms": statistics.median(counted) * 1e3,
                "runs": runs,
            }
        )
    )


def migrate(arguments):
    dbos, _ = register()
    dbos(config=configuration(arguments, 0))
    dbos.launch()
    dbos.destroy()


def url(text):
    """The scheme that SQLAlchemy knows."""
    return text.replace("postgres://", "postgresql://", 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["migrate", "measure"])
    parser.add_argument("--database", required=True, type=url, help="URL of the database")
    parser.add_argument("--mode", choices=["direct", "queue"], default="direct")
    parser.add_argument("--concurrency", type=int, default=1, help="runs at a time, in all processes")
    parser.add_argument("--seconds", type=float, default=10, help="measured time")
    parser.add_argument("--warm-up", type=float, default=2, help="time before it")
    parser.add_argument("--value-bytes", type=int, default=200, help="size of what each step puts out")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--pool", type=int, help="connections of each process")
    parser.add_argument("--polling", type=float, default=0.02, help="seconds between polls of the queue")
    parser.add_argument("--pre-ping", action="store_true", help="ask each connection whether it lives, the default of DBOS")
    arguments = parser.parse_args()
    {"migrate": migrate, "measure": measure}[arguments.verb](arguments)


if __name__ == "__main__":
    main()
