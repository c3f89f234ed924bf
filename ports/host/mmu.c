/* ports/host/mmu.c: a software MMU with a TLB per CPU that forgets nothing by itself.
 *
 * 1 Concepts. An access fills the CPU's TLB by walking the tables in the machine's RAM (walk.h), and from then on uses what it has until
 *   loam_port_tlb_flush() takes it away. So a shootdown that was forgotten, came too early or went to the wrong CPU leaves a stale entry behind for sure,
 *   where a real TLB might have dropped it by chance.
 * 2 Each entry keeps the generation of the frame it leads to. An access through an entry whose frame is free by now, has been handed out anew, or is no longer
 *   what the tables say, ends the run: that is the corruption a late shootdown causes, caught at its first byte.
 * 3 Table frames are watched alike. The CPU keeps the tables it walked through as paging-structure caches do; only a full flush drops them. A walk that has one in its
 *   way which has been freed or reused since ends the run.
 * 4 Locks. A CPU's TLB has a mutex, since a broadcast flush comes from outside; taken with interrupts masked.
 * 5 Not done: ASIDs, accessed and dirty bits, speculation. Any access is a kernel's access.
 */
#include "private.h"

#include "walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHIFT_STEP = 9, SHIFT_MAX = 48, WALK_DEPTH_MAX = 5 };

/* Keyed by page and leaf size: tag = va >> shift. */
struct host_tlb_entry {
	bool used;
	uint64_t tag;
	struct host_translation to; /* to.pa is the leaf's first byte */
	uint32_t generation;
};

/* A table some walk went through: for @depth levels below the root, all addresses with this @tag. */
struct host_table_entry {
	bool used;
	unsigned int depth;
	uint64_t tag;
	uint64_t table;
	uint32_t generation;
};

struct host_tlb {
	pthread_mutex_t lock;
	size_t size; /* of both maps, a power of two */
	size_t nentries;
	struct host_tlb_entry *entries;
	size_t ntables;
	struct host_table_entry *tables;
	uint64_t full_flushes;
	uint64_t range_flushes;
};

/* ---- two open-addressing maps -------------------------------------------------------------------------------------------------- */

static size_t hash(uint64_t tag, unsigned int salt)
{
	uint64_t x = (tag + salt) * UINT64_C(0x9e3779b97f4a7c15);

	return (size_t)(x >> 20);
}

static struct host_tlb_entry *find_entry(const struct host_tlb *tlb, uint64_t tag, unsigned int shift)
{
	size_t i = hash(tag, shift) & (tlb->size - 1);

	while (tlb->entries[i].used && (tlb->entries[i].tag != tag || tlb->entries[i].to.shift != shift))
		i = (i + 1) & (tlb->size - 1);
	return &tlb->entries[i];
}

static struct host_table_entry *find_table(const struct host_tlb *tlb, uint64_t tag, unsigned int depth)
{
	size_t i = hash(tag, depth) & (tlb->size - 1);

	while (tlb->tables[i].used && (tlb->tables[i].tag != tag || tlb->tables[i].depth != depth))
		i = (i + 1) & (tlb->size - 1);
	return &tlb->tables[i];
}

static void make_maps(struct host_tlb *tlb, size_t size)
{
	tlb->size = size;
	tlb->nentries = 0;
	tlb->ntables = 0;
	tlb->entries = calloc(size, sizeof(*tlb->entries));
	tlb->tables = calloc(size, sizeof(*tlb->tables));
	if (tlb->entries == NULL || tlb->tables == NULL)
		abort();
}

static void grow(struct host_tlb *tlb)
{
	struct host_tlb old = *tlb;

	make_maps(tlb, old.size * 2);
	for (size_t i = 0; i < old.size; i++) {
		if (old.entries[i].used) {
			*find_entry(tlb, old.entries[i].tag, old.entries[i].to.shift) = old.entries[i];
			tlb->nentries++;
		}
		if (old.tables[i].used) {
			*find_table(tlb, old.tables[i].tag, old.tables[i].depth) = old.tables[i];
			tlb->ntables++;
		}
	}
	free(old.entries);
	free(old.tables);
}

/* Take one entry out and close the gap its probe sequence would have. */
static void remove_entry(struct host_tlb *tlb, struct host_tlb_entry *gone)
{
	size_t i = (size_t)(gone - tlb->entries);

	gone->used = false;
	tlb->nentries--;
	for (i = (i + 1) & (tlb->size - 1); tlb->entries[i].used; i = (i + 1) & (tlb->size - 1)) {
		struct host_tlb_entry moved = tlb->entries[i];

		tlb->entries[i].used = false;
		*find_entry(tlb, moved.tag, moved.to.shift) = moved;
	}
}

static void clear(struct host_tlb *tlb)
{
	memset(tlb->entries, 0, tlb->size * sizeof(*tlb->entries));
	memset(tlb->tables, 0, tlb->size * sizeof(*tlb->tables));
	tlb->nentries = 0;
	tlb->ntables = 0;
}

static bool tlb_lock(struct host_cpu *cpu)
{
	struct host_cpu *self = host_this;
	bool masked = self != NULL && self->masked;

	if (self != NULL) {
		self->masked = true;
		self->quiet = true;
	}
	pthread_mutex_lock(&cpu->tlb->lock);
	return masked;
}

static void tlb_unlock(struct host_cpu *cpu, bool masked)
{
	pthread_mutex_unlock(&cpu->tlb->lock);
	if (host_this != NULL) {
		host_this->quiet = false;
		host_this->masked = masked;
	}
}

void host_tlb_create(struct host_cpu *cpu)
{
	cpu->tlb = calloc(1, sizeof(*cpu->tlb));
	if (cpu->tlb == NULL)
		abort();
	pthread_mutex_init(&cpu->tlb->lock, NULL);
	make_maps(cpu->tlb, 64);
}

void host_tlb_destroy(struct host_cpu *cpu)
{
	pthread_mutex_destroy(&cpu->tlb->lock);
	free(cpu->tlb->entries);
	free(cpu->tlb->tables);
	free(cpu->tlb);
}

/* ---- translating ------------------------------------------------------------------------------------------------------------------- */

void host_set_mmu(struct host_machine *machine, const struct host_mmu *mmu, loam_paddr root)
{
	machine->mmu = *mmu;
	machine->root = root;
	for (unsigned int i = 0; i < machine->ncpus; i++) {
		bool masked = tlb_lock(&machine->cpus[i]);

		clear(machine->cpus[i].tlb);
		tlb_unlock(&machine->cpus[i], masked);
	}
	machine->has_mmu = true;
}

void host_watch_frames(struct host_machine *machine, host_frame_look look, void *context)
{
	machine->look = look;
	machine->look_context = context;
}

/* True when @pfn is owned by somebody; what nobody watches always is. */
static bool look_at(const struct host_machine *machine, uint64_t pfn, uint32_t *generation)
{
	*generation = 0;
	return machine->look == NULL || machine->look(machine->look_context, pfn, generation);
}

struct walk {
	struct host_cpu *cpu;
	uint64_t va;
	unsigned int depth;
	char wrong[160]; /* a complaint about a table frame */
};

static uint64_t table_tag(const struct host_machine *machine, uint64_t va, unsigned int depth)
{
	unsigned int shift = LOAM_PAGE_SHIFT + SHIFT_STEP * (machine->mmu.levels - depth);

	return shift >= 64 ? 0 : va >> shift;
}

/* The CPU may walk on from any table it walked through before: none of them may be free or somebody else's by now. */
static void judge_tables(const struct host_cpu *cpu, uint64_t va, char *wrong, size_t nbytes)
{
	for (unsigned int depth = 0; depth < cpu->machine->mmu.levels; depth++) {
		const struct host_table_entry *known = find_table(cpu->tlb, table_tag(cpu->machine, va, depth), depth);
		uint32_t generation;

		if (!known->used)
			continue;
		if (!look_at(cpu->machine, known->table >> LOAM_PAGE_SHIFT, &generation))
			snprintf(wrong, nbytes, "walk for 0x%llx: its cached page table 0x%llx is free",
				 (unsigned long long)va, (unsigned long long)known->table);
		else if (generation != known->generation)
			snprintf(wrong, nbytes, "walk for 0x%llx: its cached page table 0x%llx has a new owner",
				 (unsigned long long)va, (unsigned long long)known->table);
	}
}

/* The walker wants a word of the table that is @walk->depth levels below the root. */
static uint64_t read_entry(void *context, uint64_t address)
{
	struct walk *walk = context;
	struct host_machine *machine = walk->cpu->machine;
	struct host_tlb *tlb = walk->cpu->tlb;
	uint64_t table = address & ~(uint64_t)(LOAM_PAGE_SIZE - 1);
	uint64_t tag = table_tag(machine, walk->va, walk->depth);
	struct host_table_entry *known = find_table(tlb, tag, walk->depth);
	uint32_t generation;

	if (!host_is_ram(machine, table, LOAM_PAGE_SIZE)) {
		snprintf(walk->wrong, sizeof(walk->wrong), "its page table 0x%llx is no RAM",
			 (unsigned long long)table);
		return 0;
	}
	if (!look_at(machine, table >> LOAM_PAGE_SHIFT, &generation))
		snprintf(walk->wrong, sizeof(walk->wrong), "its page table 0x%llx is free", (unsigned long long)table);
	tlb->ntables += !known->used;
	*known = (struct host_table_entry){true, walk->depth, tag, table, generation};
	walk->depth++;
	return __atomic_load_n((uint64_t *)(machine->window + (address - machine->base)), __ATOMIC_ACQUIRE);
}

static bool allows(const struct host_translation *to, enum host_access access)
{
	return access == HOST_READ ? to->read : access == HOST_WRITE ? to->write : to->execute;
}

static struct host_tlb_entry *find_any(const struct host_tlb *tlb, uint64_t va)
{
	for (unsigned int shift = LOAM_PAGE_SHIFT; shift <= SHIFT_MAX; shift += SHIFT_STEP) {
		struct host_tlb_entry *entry = find_entry(tlb, va >> shift, shift);

		if (entry->used)
			return entry;
	}
	return NULL;
}

/* The frame whose owner has a whole leaf: a block's references and generation are its first frame's. */
static uint64_t owned_frame(const struct host_tlb_entry *entry)
{
	return entry->to.pa >> LOAM_PAGE_SHIFT;
}

/* Is it harm or only history that @entry is used? */
static void judge(const struct host_cpu *cpu, const struct host_tlb_entry *entry, uint64_t va, const char *walked,
		  const struct host_translation *now, char *wrong, size_t nbytes)
{
	uint64_t pa = entry->to.pa + (va & ((UINT64_C(1) << entry->to.shift) - 1));
	uint32_t generation;

	wrong[0] = '\0';
	if (!look_at(cpu->machine, owned_frame(entry), &generation))
		snprintf(wrong, nbytes, "stale entry for 0x%llx: its frame 0x%llx is free", (unsigned long long)va,
			 (unsigned long long)(pa >> LOAM_PAGE_SHIFT));
	else if (generation != entry->generation)
		snprintf(wrong, nbytes,
			 "stale entry for 0x%llx: its frame 0x%llx has a new owner (generation %u, was %u)",
			 (unsigned long long)va, (unsigned long long)(pa >> LOAM_PAGE_SHIFT), generation,
			 entry->generation);
	else if (walked == NULL && now->pa != pa)
		snprintf(wrong, nbytes, "stale entry for 0x%llx: it leads to 0x%llx, the tables to 0x%llx",
			 (unsigned long long)va, (unsigned long long)pa, (unsigned long long)now->pa);
}

const char *host_translate(uint64_t va, enum host_access access, loam_paddr *pa)
{
	struct host_cpu *cpu = host_this;
	struct walk walk = {.cpu = cpu, .va = va};
	struct host_translation now;
	struct host_tlb_entry *entry;
	const char *fault = NULL;
	char wrong[200] = "";
	bool masked;

	if (cpu == NULL || !cpu->machine->has_mmu)
		host_fault("access to 0x%llx without an MMU", (unsigned long long)va);
	masked = tlb_lock(cpu);
	if (cpu->tlb->nentries * 2 >= cpu->tlb->size || (cpu->tlb->ntables + WALK_DEPTH_MAX) * 2 >= cpu->tlb->size)
		grow(cpu->tlb);
	entry = find_any(cpu->tlb, va);
	if (entry == NULL)
		judge_tables(cpu, va, wrong, sizeof(wrong));
	fault = host_walk(&cpu->machine->mmu, cpu->machine->root, va, read_entry, &walk, &now);
	if (entry != NULL)
		judge(cpu, entry, va, fault, &now, wrong, sizeof(wrong));
	else if (wrong[0] == '\0' && walk.wrong[0] != '\0')
		snprintf(wrong, sizeof(wrong), "walk for 0x%llx: %s", (unsigned long long)va, walk.wrong);

	/* A miss, or a right the entry does not give: what the tables say counts. */
	if (wrong[0] == '\0' && (entry == NULL || !allows(&entry->to, access))) {
		if (fault == NULL && !allows(&now, access))
			fault = access == HOST_READ    ? "not readable"
				: access == HOST_WRITE ? "not writable"
						       : "not executable";
		if (fault == NULL) {
			uint64_t low = (UINT64_C(1) << now.shift) - 1;

			if (entry != NULL)
				remove_entry(cpu->tlb, entry);
			entry = find_entry(cpu->tlb, va >> now.shift, now.shift);
			cpu->tlb->nentries += !entry->used;
			*entry = (struct host_tlb_entry){.used = true, .tag = va >> now.shift, .to = now};
			entry->to.pa &= ~low;
			if (!look_at(cpu->machine, owned_frame(entry), &entry->generation))
				snprintf(wrong, sizeof(wrong), "0x%llx is mapped to frame 0x%llx, which is free",
					 (unsigned long long)va, (unsigned long long)(now.pa >> LOAM_PAGE_SHIFT));
		}
	} else {
		fault = NULL;
	}
	if (fault == NULL && wrong[0] == '\0')
		*pa = entry->to.pa + (va & ((UINT64_C(1) << entry->to.shift) - 1));
	tlb_unlock(cpu, masked);
	if (wrong[0] != '\0')
		host_fault("CPU %u: %s", cpu->index, wrong);
	return fault;
}

static const char *copy(uint64_t va, char *buffer, size_t nbytes, enum host_access access)
{
	struct host_machine *machine = host_current();

	while (nbytes > 0) {
		size_t piece = LOAM_PAGE_SIZE - (va & (LOAM_PAGE_SIZE - 1));
		const char *fault;
		loam_paddr pa;
		char *at;

		if (piece > nbytes)
			piece = nbytes;
		fault = host_translate(va, access, &pa);
		if (fault != NULL)
			return fault;
		at = host_ram(machine, pa);
		memcpy(access == HOST_READ ? buffer : at, access == HOST_READ ? at : buffer, piece);
		va += piece;
		buffer += piece;
		nbytes -= piece;
	}
	return NULL;
}

const char *host_try_read(uint64_t va, void *buffer, size_t nbytes)
{
	return copy(va, buffer, nbytes, HOST_READ);
}

const char *host_try_write(uint64_t va, const void *buffer, size_t nbytes)
{
	char piece[256];
	const char *fault = NULL;

	for (size_t done = 0; done < nbytes && fault == NULL;) {
		size_t n = nbytes - done < sizeof(piece) ? nbytes - done : sizeof(piece);

		memcpy(piece, (const char *)buffer + done, n);
		fault = copy(va + done, piece, n, HOST_WRITE);
		done += n;
	}
	return fault;
}

void host_read(uint64_t va, void *buffer, size_t nbytes)
{
	const char *fault = host_try_read(va, buffer, nbytes);

	if (fault != NULL)
		host_fault("CPU %u cannot read 0x%llx: %s", loam_port_cpu(), (unsigned long long)va, fault);
}

void host_write(uint64_t va, const void *buffer, size_t nbytes)
{
	const char *fault = host_try_write(va, buffer, nbytes);

	if (fault != NULL)
		host_fault("CPU %u cannot write 0x%llx: %s", loam_port_cpu(), (unsigned long long)va, fault);
}

/* ---- forgetting --------------------------------------------------------------------------------------------------------------------- */

/* One invalidation by address: whatever leaf covers it. Tables that were walked through stay known: by address, architectures differ on them. */
static void forget(struct host_tlb *tlb, uint64_t va)
{
	struct host_tlb_entry *entry;

	while ((entry = find_any(tlb, va)) != NULL)
		remove_entry(tlb, entry);
}

static void flush(struct host_cpu *cpu, const struct loam_tlb_range *ranges, size_t nranges)
{
	bool masked = tlb_lock(cpu);

	if (nranges == 0) {
		clear(cpu->tlb);
		cpu->tlb->full_flushes++;
	} else {
		cpu->tlb->range_flushes++;
	}
	for (size_t i = 0; i < nranges; i++) {
		uint64_t stride = UINT64_C(1) << ranges[i].stride_shift;
		uint64_t nbytes = (uint64_t)ranges[i].npages << LOAM_PAGE_SHIFT;

		for (uint64_t done = 0; done < nbytes; done += stride)
			forget(cpu->tlb, ranges[i].start + done);
	}
	tlb_unlock(cpu, masked);
}

void loam_port_tlb_flush(const struct loam_tlb_range *ranges, size_t nranges)
{
	struct host_machine *machine = host_current();

	if (machine == NULL)
		return;
	host_window_flush(machine, ranges, nranges);
	if (!machine->config.broadcast) {
		flush(host_this, ranges, nranges);
		return;
	}
	for (unsigned int i = 0; i < machine->ncpus; i++)
		flush(&machine->cpus[i], ranges, nranges);
}

/* The walker reads entries with acquire order and keeps no invalid ones. */
void loam_port_pte_sync(void)
{
}

struct host_tlb_stats host_tlb_read_stats(struct host_machine *machine, unsigned int cpu)
{
	const struct host_tlb *tlb = machine->cpus[cpu].tlb;
	bool masked = tlb_lock(&machine->cpus[cpu]);
	struct host_tlb_stats stats = {tlb->nentries, tlb->full_flushes, tlb->range_flushes};

	tlb_unlock(&machine->cpus[cpu], masked);
	return stats;
}
