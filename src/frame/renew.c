/* frame/renew.c: a frame that its owner would give back, to take one like it at once: one swap instead of two, and no magazine in between.
 *
 * The same checks as a free's (free.c), and the generation moves on as if the frame had been free in between: {1, g} -> {1, g + 1}. What is not plain kernel data that belongs to one
 * owner alone, without hooks, guard or poison, is left as it is, for loam_frame_free() to do the right thing with, or to say what is wrong.
 */
#include "internal.h"

size_t loam_frame_renew_batch(struct loam_frames *frames, const loam_pfn *pfns, size_t n)
{
	const unsigned int cpu = loam_port_cpu();
	const uint64_t mine = loami_kind_plain(loami_flags_by_type[TYPE_UNMOVABLE], 0, cpu);
	size_t done = 0;

	LOAMI_NOT_FROM_NMI();
	if (frames->hardened)
		return 0;
	for (; done < n; done++) {
		uint64_t naming, *at = loami_find_word(frames, pfns[done], &naming), word, kind;

		if (LOAMI_UNLIKELY(at == NULL))
			break;
		word = loami_load_relaxed(at);
		kind = loami_slot_kind(loami_word_slot(at));
		/* All but the CPU, which is on top, is to be the same. */
		if (LOAMI_UNLIKELY(loami_word_ref(word) != 1 || (kind ^ mine) << 16 != 0 ||
				   !loami_cas(at, &word, word + (UINT64_C(1) << 32))))
			break;
		if (LOAMI_UNLIKELY(kind != mine))
			loami_slot_set_cpu(loami_word_slot(at), cpu);
	}
	return done;
}
