/* bench/arena_reference.h: what address arenas are measured against, written for it.
 *
 * lists  as the seed has it: a sorted list of free extents searched for the best fit and a sorted list of live ones, under one lock
 * tree   as kernels have it: a red-black tree of live ranges by address, each node augmented with the largest gap below it, under one lock
 * Both in units of pages, a page of guard included by the caller.
 */
#ifndef BENCH_ARENA_REFERENCE_H
#define BENCH_ARENA_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define AREF_NONE UINT64_MAX

struct aref_lock {
	uint32_t word;
};
static inline void aref_acquire(struct aref_lock *lock)
{
	while (__builtin_expect(__atomic_exchange_n(&lock->word, 1, __ATOMIC_ACQUIRE) != 0, 0))
		for (unsigned int round = 0; __atomic_load_n(&lock->word, __ATOMIC_RELAXED) != 0; round++)
			loam_port_relax(round);
}
static inline void aref_release(struct aref_lock *lock)
{
	__atomic_store_n(&lock->word, 0, __ATOMIC_RELEASE);
}

/* Nodes of either kind come from a pool that only grows, as the seed's. 64 bytes of attribution each, as ours. */
struct aref_node {
	uint64_t start, npages;
	struct aref_node *left, *right, *parent; /* lists: left is next */
	uint64_t gap;                            /* tree: free pages right before this range */
	uint64_t largest;                        /* tree: largest gap in the subtree */
	uint64_t red;
	uint64_t attribution[8];
};

struct aref {
	struct aref_lock lock;
	struct aref_node *pool;
	struct aref_node *free_list, *live_list; /* lists */
	struct aref_node *root;                  /* tree */
	struct aref_node nil,
		end; /* tree: leaf sentinel; the range behind the arena, so that every gap is before a range */
};

static inline struct aref_node *aref_get(struct aref *a)
{
	struct aref_node *node;

	if (a->pool == NULL) {
		node = calloc(1024, sizeof(*node));
		for (int i = 0; i < 1024; i++) {
			node[i].left = a->pool;
			a->pool = &node[i];
		}
	}
	node = a->pool;
	a->pool = node->left;
	return node;
}
static inline void aref_put(struct aref *a, struct aref_node *node)
{
	node->left = a->pool;
	a->pool = node;
}
static inline void aref_attribute(struct aref_node *node, uint64_t npages)
{
	static uint64_t sequence;

	node->attribution[0] = ++sequence;
	for (int i = 1; i < 8; i++)
		node->attribution[i] = npages;
}

/* ---- the seed's lists ------------------------------------------------------------------------------------------------------- */

static inline void lists_init(struct aref *a, uint64_t npages)
{
	a->free_list = aref_get(a);
	a->free_list->start = 0;
	a->free_list->npages = npages;
	a->free_list->left = NULL;
}

static inline void lists_insert(struct aref_node **list, struct aref_node *node)
{
	while (*list != NULL && (*list)->start < node->start)
		list = &(*list)->left;
	node->left = *list;
	*list = node;
}

static inline uint64_t lists_alloc(struct aref *a, uint64_t npages)
{
	struct aref_node **best = NULL, *node;
	uint64_t start;

	aref_acquire(&a->lock);
	for (struct aref_node **link = &a->free_list; *link != NULL; link = &(*link)->left)
		if ((*link)->npages >= npages && (best == NULL || (*link)->npages < (*best)->npages)) {
			best = link;
			if ((*link)->npages == npages)
				break;
		}
	if (best == NULL) {
		aref_release(&a->lock);
		return AREF_NONE;
	}
	if ((*best)->npages == npages) {
		node = *best;
		*best = node->left;
	} else {
		node = aref_get(a);
		node->start = (*best)->start;
		node->npages = npages;
		(*best)->start += npages;
		(*best)->npages -= npages;
	}
	aref_attribute(node, npages);
	start = node->start;
	lists_insert(&a->live_list, node);
	aref_release(&a->lock);
	return start;
}

static inline bool lists_free(struct aref *a, uint64_t start)
{
	struct aref_node **link, *node, *before = NULL;

	aref_acquire(&a->lock);
	for (link = &a->live_list; *link != NULL && (*link)->start < start; link = &(*link)->left)
		;
	node = *link;
	if (node == NULL || node->start != start) {
		aref_release(&a->lock);
		return false;
	}
	*link = node->left;
	for (link = &a->free_list; *link != NULL && (*link)->start < start; link = &(*link)->left)
		before = *link;
	node->left = *link;
	*link = node;
	if (before != NULL && before->start + before->npages == node->start) {
		before->npages += node->npages;
		before->left = node->left;
		aref_put(a, node);
		node = before;
	}
	before = node->left;
	if (before != NULL && node->start + node->npages == before->start) {
		node->npages += before->npages;
		node->left = before->left;
		aref_put(a, before);
	}
	aref_release(&a->lock);
	return true;
}

/* ---- the augmented tree --------------------------------------------------------------------------------------------------------- */

static inline void tree_update(struct aref *a, struct aref_node *node)
{
	uint64_t largest = node->gap;

	(void)a;
	if (node->left->largest > largest)
		largest = node->left->largest;
	if (node->right->largest > largest)
		largest = node->right->largest;
	node->largest = largest;
}
static inline void tree_update_up(struct aref *a, struct aref_node *node)
{
	for (; node != &a->nil; node = node->parent) {
		uint64_t before = node->largest;

		tree_update(a, node);
		if (node->largest == before && node->parent != &a->nil && before != 0)
			break;
	}
}
static inline void tree_replace(struct aref *a, struct aref_node *old, struct aref_node *node)
{
	if (old->parent == &a->nil)
		a->root = node;
	else if (old == old->parent->left)
		old->parent->left = node;
	else
		old->parent->right = node;
	node->parent = old->parent;
}
static inline void tree_rotate(struct aref *a, struct aref_node *x, bool left)
{
	struct aref_node *y = left ? x->right : x->left;
	struct aref_node *inner = left ? y->left : y->right;

	if (left)
		x->right = inner;
	else
		x->left = inner;
	if (inner != &a->nil)
		inner->parent = x;
	tree_replace(a, x, y);
	if (left)
		y->left = x;
	else
		y->right = x;
	x->parent = y;
	tree_update(a, x);
	tree_update(a, y);
}

static inline struct aref_node *tree_next(struct aref *a, struct aref_node *node)
{
	if (node->right != &a->nil) {
		for (node = node->right; node->left != &a->nil; node = node->left)
			;
		return node;
	}
	while (node->parent != &a->nil && node == node->parent->right)
		node = node->parent;
	return node->parent;
}

static inline void tree_insert_before(struct aref *a, struct aref_node *next, struct aref_node *z)
{
	/* In order, right before @next: its left child, or the right child of its predecessor. */
	z->left = z->right = &a->nil;
	z->red = 1;
	if (next->left == &a->nil) {
		next->left = z;
		z->parent = next;
	} else {
		struct aref_node *p = next->left;

		while (p->right != &a->nil)
			p = p->right;
		p->right = z;
		z->parent = p;
	}
	z->largest = z->gap;
	tree_update_up(a, next);
	for (struct aref_node *n = z->parent; n != &a->nil; n = n->parent)
		tree_update(a, n);
	while (z->parent->red) {
		struct aref_node *p = z->parent, *g = p->parent;
		bool is_left = p == g->left;
		struct aref_node *uncle = is_left ? g->right : g->left;

		if (uncle->red) {
			p->red = uncle->red = 0;
			g->red = 1;
			z = g;
			continue;
		}
		if (z == (is_left ? p->right : p->left)) {
			z = p;
			tree_rotate(a, z, is_left);
			p = z->parent;
			g = p->parent;
		}
		p->red = 0;
		g->red = 1;
		tree_rotate(a, g, !is_left);
	}
	a->root->red = 0;
}

static inline void tree_erase(struct aref *a, struct aref_node *z)
{
	struct aref_node *y = z, *x, *from;
	uint64_t was_red = y->red;

	if (z->left == &a->nil) {
		x = z->right;
		tree_replace(a, z, x);
		from = z->parent;
	} else if (z->right == &a->nil) {
		x = z->left;
		tree_replace(a, z, x);
		from = z->parent;
	} else {
		for (y = z->right; y->left != &a->nil; y = y->left)
			;
		was_red = y->red;
		x = y->right;
		if (y->parent == z) {
			x->parent = y;
			from = y;
		} else {
			from = y->parent;
			tree_replace(a, y, x);
			y->right = z->right;
			y->right->parent = y;
		}
		tree_replace(a, z, y);
		y->left = z->left;
		y->left->parent = y;
		y->red = z->red;
	}
	for (; from != &a->nil; from = from->parent)
		tree_update(a, from);
	if (was_red)
		return;
	while (x != a->root && !x->red) {
		struct aref_node *p = x->parent;
		bool is_left = x == p->left;
		struct aref_node *w = is_left ? p->right : p->left;

		if (w->red) {
			w->red = 0;
			p->red = 1;
			tree_rotate(a, p, is_left);
			w = is_left ? p->right : p->left;
		}
		if (!w->left->red && !w->right->red) {
			w->red = 1;
			x = p;
			continue;
		}
		if (!(is_left ? w->right : w->left)->red) {
			(is_left ? w->left : w->right)->red = 0;
			w->red = 1;
			tree_rotate(a, w, !is_left);
			w = is_left ? p->right : p->left;
		}
		w->red = p->red;
		p->red = 0;
		(is_left ? w->right : w->left)->red = 0;
		tree_rotate(a, p, is_left);
		x = a->root;
	}
	x->red = 0;
}

static inline void tree_init(struct aref *a, uint64_t npages)
{
	a->nil = (struct aref_node){.left = &a->nil, .right = &a->nil, .parent = &a->nil};
	a->end = (struct aref_node){.start = npages,
				    .left = &a->nil,
				    .right = &a->nil,
				    .parent = &a->nil,
				    .gap = npages,
				    .largest = npages};
	a->root = &a->end;
}

/* Lowest gap that fits, placed at its start. */
static inline uint64_t tree_alloc(struct aref *a, uint64_t npages)
{
	struct aref_node *node, *fresh;

	aref_acquire(&a->lock);
	node = a->root;
	if (node->largest < npages) {
		aref_release(&a->lock);
		return AREF_NONE;
	}
	for (;;) {
		if (node->left->largest >= npages)
			node = node->left;
		else if (node->gap >= npages)
			break;
		else
			node = node->right;
	}
	fresh = aref_get(a);
	fresh->start = node->start - node->gap;
	fresh->npages = npages;
	fresh->gap = 0;
	aref_attribute(fresh, npages);
	node->gap -= npages;
	tree_insert_before(a, node, fresh);
	aref_release(&a->lock);
	return fresh->start;
}

static inline struct aref_node *tree_find(struct aref *a, uint64_t page)
{
	struct aref_node *node = a->root;

	while (node != &a->nil && (page < node->start || page >= node->start + node->npages))
		node = page < node->start ? node->left : node->right;
	return node;
}

static inline bool tree_free(struct aref *a, uint64_t start)
{
	struct aref_node *node, *next;

	aref_acquire(&a->lock);
	node = tree_find(a, start);
	if (node == &a->nil || node->start != start) {
		aref_release(&a->lock);
		return false;
	}
	next = tree_next(a, node);
	next->gap += node->gap + node->npages;
	tree_erase(a, node);
	for (; next != &a->nil; next = next->parent)
		tree_update(a, next);
	aref_put(a, node);
	aref_release(&a->lock);
	return true;
}

static inline uint64_t tree_lookup(struct aref *a, uint64_t page)
{
	struct aref_node *node;
	uint64_t start;

	aref_acquire(&a->lock);
	node = tree_find(a, page);
	start = node == &a->nil ? AREF_NONE : node->start;
	aref_release(&a->lock);
	return start;
}

#endif
