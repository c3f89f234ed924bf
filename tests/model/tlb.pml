/* tests/model/tlb.pml: freeing address space on several CPUs, from the first claim of an area to its reuse, for spin.
 *
 * Steps have the names that src/paging/tlb.c and the free path of vmalloc use in their comments (DESIGN 7):
 *   CLAIM  live bit off    CLEAR  page-table entries    DIRTY  dirty bit on        one area, by whoever frees it
 *   SEAL   take all dirty  PUBLISH generation + 1  FLUSH here  ASK the others  DONE  RELEASE address and frames        one batch, by whoever purges
 *   ANSWER asked = 0       LOOK generation         FLUSH       REPORT flushed                                     a CPU that was asked, or wakes
 *
 * Hardware at its worst: a TLB holds whatever it could have cached. So mapping an area puts it into every TLB at once, and a flush leaves exactly what the
 * tables in memory still say at that moment. What is checked is monotone in that, so nothing is lost.
 *
 * Checked: when an address or a frame is released no CPU that runs holds a translation of it (idle ones must not use one before they flush; with TABLES
 * they must have none either); an idle CPU that goes on holds none; nobody waits for ever (invalid end states).
 *
 * Parameters: N CPUs, A areas, GENS generations. Variants: TABLES (flush_tables: idle CPUs answer too), LOSSY (one IPI gets lost, waiters ask again),
 * AWAKE (nobody idles; for larger machines), IDLERS (only the first so many CPUs idle).
 * Seeded bugs, each a step left out or a pair of steps the other way round, as a missing order would allow: BUG=1..9, see the table at the end.
 */
#ifndef N
#define N 2
#endif
#ifndef A
#define A 4
#endif
#ifndef GENS
#define GENS 3
#endif
#ifndef BUG
#define BUG 0
#endif
#ifndef IDLERS
#define IDLERS N
#endif

#define ALL ((1 << A) - 1)
#define AREA(a) (1 << (a))

#define ONLINE 0
#define IDLE 1
#define WAKING 2 /* ONLINE for everybody else, but has not flushed yet */

byte live = ALL;   /* each area is in exactly one of: live, being freed, dirty, sealed, unused */
byte dirty = 0;
byte unused = 0;
byte pte = ALL;    /* what the tables in memory map */
byte tlb[N];       /* what each CPU may have cached */
byte gen = 0;
byte purges = 0;   /* begun: bounds the model */
byte flushed[N];
bit asked[N];
bit ipi[N];        /* an interrupt is on its way */
byte state[N];
#ifdef LOSSY
bit lost = 0;
#endif

#define is_asleep(c) (state[c] == IDLE)
#ifdef TABLES
#define lags(c, g) (flushed[c] < (g))
#else
#define lags(c, g) (flushed[c] < (g) && !is_asleep(c))
#endif

/* No CPU that runs may hold @areas any more. */
inline check_gone(areas)
{
	i = 0;
	do
	:: i < N ->
#ifdef TABLES
		assert((tlb[i] & (areas)) == 0);
#else
		assert(state[i] != ONLINE || (tlb[i] & (areas)) == 0);
#endif
		i++
	:: else -> break
	od;
	i = 0
}

/* On CPU c: by interrupt, in a wait, on waking. Taking the interrupt is one step with ANSWER: what an ASK does in between differs by an IPI too many. Without an
 * interrupt, one that is on its way is lost: harder on those who wait. */
inline catch_up()
{
#if BUG == 7
	ipi[c] = 0;
	look = gen;                                    /* LOOK before ANSWER: an ASK in between finds 1 and sends nothing */
	asked[c] = 0;
#else
	atomic { ipi[c] = 0; asked[c] = 0 };           /* ANSWER */
	look = gen;                                    /* LOOK */
#endif
	if
	:: look > flushed[c] ->
		tlb[c] = pte;                          /* FLUSH */
#if BUG == 6
		look = gen;                            /* LOOK again: reports a generation it has not flushed for */
#endif
		atomic { flushed[c] = look; look = 0 } /* REPORT */
	:: else -> look = 0
	fi
}

/* One step per CPU: reading its state and the exchange could be two, and would differ by an IPI too many. */
inline ask(again)
{
	do
	:: atomic { i < N ->
			if
			:: i != c && lags(i, g) ->
				if
				:: again || !asked[i] -> ipi[i] = 1
				:: else
				fi;
				asked[i] = 1           /* ASK: exchange(asked, 1) */
			:: else
			fi;
			i++ }
	:: atomic { i == N -> i = 0; break }
	od
}

#if N == 2
#define is_done (!lags(0, g) && !lags(1, g))
#else
#define is_done (!lags(0, g) && !lags(1, g) && !lags(2, g))
#endif

inline lowest(set)
{
	do
	:: (set & AREA(a)) != 0 -> break
	:: else -> a++
	od
}

inline free_area()
{
#if BUG == 1
	dirty = dirty | AREA(a);                       /* one word for claim and publish: dirty before the entries are cleared */
	atomic { pte = pte & ~AREA(a); a = 0 }
#else
	pte = pte & ~AREA(a);                          /* CLEAR */
	atomic { dirty = dirty | AREA(a); a = 0 }      /* DIRTY: release, so never before CLEAR */
#endif
}

proctype cpu(byte c)
{
	byte mine = 0; /* sealed by this CPU */
	byte look = 0;
	byte g = 0;
	byte i = 0;
	byte a = 0;

end:	do
	:: ipi[c] -> catch_up()

	/* allocate: the lowest unused area */
	:: atomic { unused != 0 ->
			lowest(unused);
			assert((pte & AREA(a)) == 0);
			unused = unused & ~AREA(a);
			live = live | AREA(a);
			pte = pte | AREA(a);
			do
			:: i < N -> tlb[i] = tlb[i] | AREA(a); i++
			:: else -> break
			od;
			a = 0;
			i = 0
		}

	/* free: the lowest live area. Live areas are alike in every variable, so which one is taken makes no difference */
	:: atomic { live != 0 ->
			lowest(live);
			live = live & ~AREA(a)         /* CLAIM: a second one finds the bit off */
		};
		free_area()

	/* purge */
	:: atomic { dirty != 0 && purges < GENS ->
			purges++;
#if BUG != 2
			mine = dirty; dirty = 0        /* SEAL */
#endif
		};
#if BUG == 4
		check_gone(mine);
		unused = unused | mine;                /* the address goes back at once: the seed's fault */
#endif
#if BUG == 3
		check_gone(mine);                      /* the frames go back at once: only the address is protected */
#endif
#if BUG == 8
		i = 0;
		g = gen + 1;
		ask(0);                                /* who is asleep is looked up before the generation can be seen */
#endif
		atomic { gen++; g = gen };             /* PUBLISH */
#if BUG == 2
		atomic { mine = dirty; dirty = 0 };    /* SEAL after PUBLISH: takes what was cleared after others flushed */
#endif
		catch_up();
#if BUG != 8
		ask(0);
#endif
		/* for its own generation, or for whatever was started by now: also by others, also what this CPU has not flushed for yet */
		if
		:: true
		:: g = gen
		fi;
		/* wait: interrupts on; or masked by a careless caller, hence the second rule */
		do
		:: is_done -> break                    /* DONE */
#if BUG != 5
		:: !is_done && ipi[c] -> catch_up()
		:: !is_done && flushed[c] < gen -> catch_up()
#endif
#ifdef LOSSY
		:: timeout -> ask(1)
#endif
		od;
		atomic {
			g = 0;
			check_gone(mine);
#if BUG != 4
			unused = unused | mine;        /* RELEASE */
#endif
			mine = 0
		}

#ifndef AWAKE
	/* idle; whatever interrupt wakes it leaves the state first */
	:: c < IDLERS -> state[c] = IDLE;
		do
#ifdef TABLES
		:: ipi[c] -> catch_up()
#endif
		:: break
		od;
#if BUG == 9
		catch_up();                            /* LOOK before the state can be seen */
		state[c] = ONLINE
#else
		state[c] = WAKING;                     /* lags() tells it from IDLE: the store comes before the LOOK */
		catch_up();
		d_step {
			state[c] = ONLINE;
			/* whatever it still holds has not been released */
			assert((tlb[c] & unused) == 0)
		}
#endif
#endif

	:: break /* computes for ever, interrupts on: whoever waits for it now relies on having asked */
	od;

end_computing:
	do
	:: ipi[c] -> catch_up()
	od
}

#ifdef LOSSY
active proctype thief()
{
end:	do
	:: atomic { !lost && ipi[0] -> ipi[0] = 0; lost = 1 }
	:: atomic { !lost && ipi[1] -> ipi[1] = 0; lost = 1 }
	od
}
#endif

init {
	byte n = 0;

	atomic {
		do
		:: n < N -> tlb[n] = ALL; n++
		:: else -> break
		od;
		run cpu(0);
		run cpu(1);
#if N > 2
		run cpu(2);
#endif
	}
}

/* BUG  what                                                         found as
 *  1   dirty before clear (one word; or the dirty bit not a release)    assertion
 *  2   seal after publish                                               assertion
 *  3   frames released before the flush                                 assertion
 *  4   addresses released before the flush                              assertion
 *  5   a waiter does not answer for its own CPU                         waits for itself
 *  6   report what was looked up after the flush                        assertion
 *  7   answer after look                                                waits for ever
 *  8   ask before publish (states read too early)                       waits for ever
 *  9   look before the state says online                                assertion, or waits for ever
 */
