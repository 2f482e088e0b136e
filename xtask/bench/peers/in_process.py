"""Puts a vector library that runs within this process under the workload of `bench peers`.

Arguments: the name of the library, and the settings as JSON. The rows are files of f32 in the
working folder. The last line that is printed is the outcome as JSON.
"""

import json
import statistics
import sys
import threading
import time

import numpy

CLIENTS, WINDOW, ROUNDS, PUTS = 4, 5.0, 3, 300


class Hnswlib:
    def __init__(self, settings, capacity):
        import hnswlib

        self.index = hnswlib.Index(space="l2", dim=settings["dimension"])
        self.index.init_index(
            max_elements=capacity, ef_construction=settings["ef_construction"], M=settings["m"]
        )

    def add(self, first, rows):
        self.index.add_items(rows, numpy.arange(first, first + len(rows)))

    def finish(self):
        pass

    def width(self, ef):
        self.index.set_ef(ef)

    def search(self, query, k):
        return self.index.knn_query(query, k=k, num_threads=1)[0][0]


class Faiss:
    def __init__(self, settings, capacity):
        import faiss

        self.index = faiss.IndexHNSWFlat(settings["dimension"], settings["m"])
        self.index.hnsw.efConstruction = settings["ef_construction"]

    def add(self, first, rows):
        self.index.add(rows)

    def finish(self):
        import faiss

        # Its own threads would answer one query; the clients are threads already.
        faiss.omp_set_num_threads(1)

    def width(self, ef):
        self.index.hnsw.efSearch = ef

    def search(self, query, k):
        return self.index.search(query[None, :], k)[1][0]


class Usearch:
    def __init__(self, settings, capacity):
        from usearch.index import Index

        self.index = Index(
            ndim=settings["dimension"],
            metric="l2sq",
            dtype="f32",
            connectivity=settings["m"],
            expansion_add=settings["ef_construction"],
        )

    def add(self, first, rows):
        self.index.add(numpy.arange(first, first + len(rows)), rows)

    def finish(self):
        pass

    def width(self, ef):
        self.index.expansion_search = ef

    def search(self, query, k):
        return self.index.search(query, k, threads=1).keys


class QdrantEdge:
    def __init__(self, settings, capacity):
        import qdrant_edge

        self.edge = qdrant_edge
        hnsw = qdrant_edge.HnswIndexConfig(
            m=settings["m"], ef_construct=settings["ef_construction"], full_scan_threshold=100
        )
        vectors = qdrant_edge.EdgeVectorParams(
            size=settings["dimension"], distance=qdrant_edge.Distance.Euclid, hnsw_config=hnsw
        )
        import os

        os.makedirs("edge", exist_ok=True)
        self.shard = qdrant_edge.EdgeShard.create(
            "edge", qdrant_edge.EdgeConfig(vectors=vectors, hnsw_config=hnsw)
        )
        self.ef = 64

    def add(self, first, rows):
        points = [
            self.edge.Point(id=first + at, vector=row.tolist(), payload={})
            for at, row in enumerate(rows)
        ]
        self.shard.update(self.edge.UpdateOperation.upsert_points(points))

    def finish(self):
        self.shard.optimize()

    def width(self, ef):
        self.ef = ef

    def search(self, query, k):
        found = self.shard.query(
            self.edge.QueryRequest(
                query=self.edge.Query.Nearest(query.tolist()),
                limit=k,
                params=self.edge.SearchParams(hnsw_ef=self.ef),
                with_payload=False,
                with_vector=False,
            )
        )
        return [point.id for point in found]


SYSTEMS = {"hnswlib": Hnswlib, "faiss": Faiss, "usearch": Usearch, "qdrant-edge": QdrantEdge}


def resident_mib():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def recall(system, queries, truth, k):
    found = 0
    for query, true in zip(queries, truth):
        found += len(set(int(at) for at in system.search(query, k)) & set(true[:k]))
    return found / (len(truth) * k)


def throughput(system, queries, k):
    counts = [0] * CLIENTS
    begun = time.perf_counter()

    def client(number):
        at = number * len(queries) // CLIENTS
        while time.perf_counter() - begun < WINDOW:
            system.search(queries[at % len(queries)], k)
            at += 1
            counts[number] += 1

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    return sum(counts) / (time.perf_counter() - begun)


def main():
    name, settings = sys.argv[1], json.loads(sys.argv[2])
    k = settings["k"]
    read = lambda file: numpy.fromfile(file, dtype="<f4").reshape(-1, settings["dimension"])
    stored, queries, spare = read("stored"), read("queries"), read("spare")
    truth = json.load(open("truth.json"))
    begun = time.perf_counter()
    system = SYSTEMS[name](settings, len(stored) + len(spare))
    for first in range(0, len(stored), 1000):
        system.add(first, stored[first : first + 1000])
    written = time.perf_counter() - begun
    system.finish()
    loaded = time.perf_counter() - begun
    resident = resident_mib()
    for ef in settings["widths"]:
        system.width(ef)
        reached = recall(system, queries, truth, k)
        if reached >= settings["recall"]:
            break
    times = []
    for _ in range(ROUNDS):
        for query in queries:
            start = time.perf_counter()
            system.search(query, k)
            times.append(time.perf_counter() - start)
    times.sort()
    searches = throughput(system, queries, k)
    puts = []
    for at in range(PUTS):
        start = time.perf_counter()
        system.add(len(stored) + at, spare[at : at + 1])
        puts.append(time.perf_counter() - start)
    outcome = {
        "name": name,
        "is_server": False,
        "load_s": loaded,
        "ef": ef,
        "recall": reached,
        "p50_ms": statistics.median(times) * 1e3,
        "p99_ms": times[int(len(times) * 0.99)] * 1e3,
        "searches_s": searches,
        "batch_searches_s": None,
        "put_p50_ms": statistics.median(puts) * 1e3,
        "sync_put_p50_ms": None,
        "batch_puts_s": len(stored) / written,
        "resident_mib": resident,
    }
    print(json.dumps(outcome))


main()
