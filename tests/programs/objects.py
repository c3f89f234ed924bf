"""Many objects of many sizes that come, grow and go."""
import random
import sys

random.seed(7)
table = {}
for step in range(200000):
    key = random.randrange(30000)
    kind = step % 5
    if kind == 0:
        table[key] = "x" * random.randrange(500)
    elif kind == 1:
        table[key] = [key] * random.randrange(60)
    elif kind == 2:
        table.setdefault(key, []) if isinstance(table.get(key, []), list) else None
    elif kind == 3:
        table.pop(key, None)
    else:
        table[key] = {str(i): i for i in range(random.randrange(20))}
print(len(table), sum(len(value) for value in table.values()))
buffer = bytearray()
for step in range(3000):
    buffer += bytes([step % 256]) * 5000
print(len(buffer), hash(bytes(buffer[::997])) == hash(bytes(buffer[::997])))
lines = sorted((str(random.random()) for _ in range(200000)), reverse=True)
print(lines[0], lines[100000], sys.getsizeof(lines) > 0)
print(sum(2 ** 5000 >> i & 1 for i in range(6000)), 3 ** 40000 % 1000003)
