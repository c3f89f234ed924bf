/* bench/linux/loam_bench.c: the rows of kernel/common/bench*.c on Linux's own allocators: what Loam's counts are compared with. Loading it counts.
 *
 * tools/bench_linux builds it with Debian's headers and boots Debian's kernel with it in the same QEMU, counting instructions in the same way: twice n
 * operations to warm up, then n that are counted. Of several rounds the cheapest counts, as Linux's tick cannot be turned off. Layers and names are those of
 * Loam's rows.
 */
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include <asm/msr.h>

#define ROUNDS 5
#define HELD_MAX 512
#define MAP_PAGES 16

struct work {
	unsigned int order;
	size_t nbytes;
	unsigned int held;
	gfp_t flags;
};

static void *held[HELD_MAX];
static struct kmem_cache *cache;
static bool failed;

static u64 count(void (*run)(const struct work *, unsigned long), const struct work *work, unsigned long n)
{
	u64 start = rdtsc();

	run(work, n);
	return rdtsc() - start;
}

static void row(const char *layer, const char *name, void (*run)(const struct work *, unsigned long), struct work work,
		unsigned long n)
{
	u64 best = ~0ULL, empty = ~0ULL, hundredths;

	work.flags |= GFP_KERNEL;
	count(run, &work, n);
	count(run, &work, n);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		best = min(best, count(run, &work, n));
		empty = min(empty, count(run, &work, 0));
	}
	hundredths = ((best - empty) * 100 + n / 2) / n;
	pr_emerg("{\"layer\": \"%s\", \"name\": \"%s\", \"unit\": \"instructions\", \"value\": %llu.%02llu}\n", layer,
		 name, hundredths / 100, hundredths % 100);
}

/* ---- frames -------------------------------------------------------------------------------------------------------------------------------------- */

static void frame_pair(const struct work *work, unsigned long n)
{
	for (unsigned long i = 0; i < n; i++) {
		struct page *page = alloc_pages(work->flags, work->order);

		if (!page) {
			failed = true;
			return;
		}
		__free_pages(page, work->order);
	}
}

static void frame_bulk(const struct work *work, unsigned long n)
{
	for (unsigned long done = 0; done < n; done += work->held) {
		for (unsigned int i = 0; i < work->held; i++)
			held[i] = alloc_pages(work->flags, work->order);
		for (unsigned int i = 0; i < work->held; i++) {
			if (held[i])
				__free_pages(held[i], work->order);
			else
				failed = true;
		}
	}
}

/* Linux gives back one by one what it handed out in a batch. */
static void frame_batch(const struct work *work, unsigned long n)
{
	for (unsigned long done = 0; done < n; done += work->held) {
		memset(held, 0, work->held * sizeof(held[0]));
		if (alloc_pages_bulk_array(work->flags, work->held, (struct page **)held) != work->held)
			failed = true;
		for (unsigned int i = 0; i < work->held; i++)
			if (held[i])
				__free_pages(held[i], 0);
	}
}

static void frames(void)
{
	row("frame", "order 0, pair", frame_pair, (struct work){.order = 0}, 4096);
	row("frame", "order 3, pair", frame_pair, (struct work){.order = 3}, 4096);
	row("frame", "order 9, pair", frame_pair, (struct work){.order = 9}, 1024);
	row("frame", "order 0, bulk of 512, pair", frame_bulk, (struct work){.order = 0, .held = 512}, 4096);
	row("frame", "order 3, bulk of 64, pair", frame_bulk, (struct work){.order = 3, .held = 64}, 4096);
	row("frame", "order 9, bulk of 8, pair", frame_bulk, (struct work){.order = 9, .held = 8}, 1024);
	row("frame", "order 0, batch of 64, pair", frame_batch, (struct work){.held = 64}, 4096);
	row("frame", "order 0, zeroed, pair", frame_pair, (struct work){.order = 0, .flags = __GFP_ZERO}, 256);
	row("frame", "order 3, zeroed, pair", frame_pair, (struct work){.order = 3, .flags = __GFP_ZERO}, 64);
	row("frame", "order 9, zeroed, pair", frame_pair, (struct work){.order = 9, .flags = __GFP_ZERO}, 2);
	row("frame", "order 0, zeroed, bulk of 512, pair", frame_bulk, (struct work){.held = 512, .flags = __GFP_ZERO},
	    512);
	row("frame", "order 0, zeroed, batch of 64, pair", frame_batch, (struct work){.held = 64, .flags = __GFP_ZERO},
	    256);
}

/* ---- vmalloc ------------------------------------------------------------------------------------------------------------------------------------ */

static void *area(const struct work *work)
{
	return __vmalloc(work->nbytes, work->flags);
}

/* What waits for a flush is flushed within the count, as in Loam's row. */
static void vmalloc_pair(const struct work *work, unsigned long n)
{
	for (unsigned long i = 0; i < n; i++) {
		void *address = area(work);

		failed |= !address;
		vfree(address);
	}
	vm_unmap_aliases();
}

static void vmalloc_bulk(const struct work *work, unsigned long n)
{
	for (unsigned long done = 0; done < n; done += work->held) {
		for (unsigned int i = 0; i < work->held; i++)
			held[i] = area(work);
		for (unsigned int i = 0; i < work->held; i++) {
			failed |= !held[i];
			vfree(held[i]);
		}
	}
	vm_unmap_aliases();
}

static struct page *pages[MAP_PAGES];

static void map_pair(const struct work *work, unsigned long n)
{
	for (unsigned long i = 0; i < n; i++) {
		void *address = vmap(pages, MAP_PAGES, VM_MAP, PAGE_KERNEL);

		failed |= !address;
		vunmap(address);
	}
	vm_unmap_aliases();
}

static void vmallocs(void)
{
	row("vmalloc", "1 page, pair", vmalloc_pair, (struct work){.nbytes = 4096}, 8192);
	row("vmalloc", "16 pages, pair", vmalloc_pair, (struct work){.nbytes = 65536}, 2048);
	row("vmalloc", "1 MiB, pair", vmalloc_pair, (struct work){.nbytes = 1 << 20}, 256);
	row("vmalloc", "1 page, bulk of 256, pair", vmalloc_bulk, (struct work){.nbytes = 4096, .held = 256}, 8192);
	row("vmalloc", "16 pages, bulk of 64, pair", vmalloc_bulk, (struct work){.nbytes = 65536, .held = 64}, 2048);
	row("vmalloc", "1 page, zeroed, pair", vmalloc_pair, (struct work){.nbytes = 4096, .flags = __GFP_ZERO}, 4096);
	row("vmalloc", "16 pages, zeroed, pair", vmalloc_pair, (struct work){.nbytes = 65536, .flags = __GFP_ZERO},
	    512);
	row("vmalloc", "1 MiB, zeroed, pair", vmalloc_pair, (struct work){.nbytes = 1 << 20, .flags = __GFP_ZERO}, 32);
	for (unsigned int i = 0; i < MAP_PAGES; i++)
		pages[i] = alloc_page(GFP_KERNEL);
	row("vmalloc", "vmap of 16 pages, pair", map_pair, (struct work){}, 2048);
	for (unsigned int i = 0; i < MAP_PAGES; i++)
		__free_page(pages[i]);
}

/* ---- objects ------------------------------------------------------------------------------------------------------------------------------------ */

static void heap_pair(const struct work *work, unsigned long n)
{
	for (unsigned long i = 0; i < n; i++)
		kfree(kmalloc(work->nbytes, work->flags));
}

static void heap_constant_pair(const struct work *work, unsigned long n)
{
	for (unsigned long i = 0; i < n; i++)
		kfree(kmalloc(64, GFP_KERNEL));
}

static void heap_one_by_one(const struct work *work, unsigned long n)
{
	for (unsigned long done = 0; done < n; done += work->held) {
		for (unsigned int i = 0; i < work->held; i++)
			held[i] = kmalloc(work->nbytes, work->flags);
		for (unsigned int i = 0; i < work->held; i++)
			kfree(held[i]);
	}
}

static void typed_pair(const struct work *work, unsigned long n)
{
	for (unsigned long i = 0; i < n; i++)
		kmem_cache_free(cache, kmem_cache_alloc(cache, work->flags));
}

static void typed_one_by_one(const struct work *work, unsigned long n)
{
	for (unsigned long done = 0; done < n; done += work->held) {
		for (unsigned int i = 0; i < work->held; i++)
			held[i] = kmem_cache_alloc(cache, work->flags);
		for (unsigned int i = 0; i < work->held; i++)
			kmem_cache_free(cache, held[i]);
	}
}

/* Linux has bulk calls for typed caches only: this cache is of 64 bytes. */
static void typed_bulk(const struct work *work, unsigned long n)
{
	for (unsigned long done = 0; done < n; done += work->held) {
		failed |= kmem_cache_alloc_bulk(cache, work->flags, work->held, held) != (int)work->held;
		kmem_cache_free_bulk(cache, work->held, held);
	}
}

static void make_cache(size_t nbytes)
{
	kmem_cache_destroy(cache);
	cache = kmem_cache_create("loam_bench", nbytes, 0, 0, NULL);
}

static void objects(void)
{
	row("heap", "64 B, pair", heap_pair, (struct work){.nbytes = 64}, 4096);
	row("heap", "64 B known when compiled, pair", heap_constant_pair, (struct work){}, 4096);
	row("heap", "256 B, pair", heap_pair, (struct work){.nbytes = 256}, 4096);
	row("heap", "1 KiB, pair", heap_pair, (struct work){.nbytes = 1024}, 4096);
	row("heap", "4 KiB, pair", heap_pair, (struct work){.nbytes = 4096}, 4096);
	row("heap", "8 KiB, pair", heap_pair, (struct work){.nbytes = 8192}, 4096);
	row("heap", "64 B, 512 one by one, pair", heap_one_by_one, (struct work){.nbytes = 64, .held = 512}, 4096);
	make_cache(64);
	row("heap", "64 B, bulk of 64, pair", typed_bulk, (struct work){.held = 64}, 4096);
	row("heap", "64 B, zeroed, pair", heap_pair, (struct work){.nbytes = 64, .flags = __GFP_ZERO}, 4096);
	row("heap", "1 KiB, zeroed, pair", heap_pair, (struct work){.nbytes = 1024, .flags = __GFP_ZERO}, 4096);
	row("heap", "8 KiB, zeroed, pair", heap_pair, (struct work){.nbytes = 8192, .flags = __GFP_ZERO}, 256);
	make_cache(192);
	row("heap", "typed cache of 192 B, pair", typed_pair, (struct work){}, 4096);
	row("heap", "typed cache of 192 B, 512 one by one, pair", typed_one_by_one, (struct work){.held = 512}, 4096);
	kmem_cache_destroy(cache);
}

static int __init loam_bench_init(void)
{
	frames();
	vmallocs();
	objects();
	return failed ? -ENOMEM : 0;
}

static void __exit loam_bench_exit(void)
{
}

module_init(loam_bench_init);
module_exit(loam_bench_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Instructions per operation of Linux's allocators");
