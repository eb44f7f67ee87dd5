/* Feature words of the pool. */
#include "meta/pool.h"

int feature_init(struct meta *meta)
{
	return lock_mutex_init(&meta->feature_lock, LOCK_LEAF);
}

void feature_fini(struct meta *meta)
{
	lock_mutex_fini(&meta->feature_lock);
}

void feature_settle(struct meta *meta)
{
	unsigned used = 0;

	for (unsigned feature = 0; feature < FMT_FEATURES; feature++) {
		if (fmt_feature_used(meta->super, (enum fmt_feature)feature))
			used |= 1u << feature;
	}
	atomic_store(&meta->features, used);
}

/* Bits, names and checksum change together. */
static int add(struct meta *meta, enum fmt_feature feature)
{
	struct fmt_super *super = meta->super;
	struct meta_tx *tx;
	int error = meta_begin(meta, META_TX_RESERVE, &tx);

	if (error != 0)
		return error;
	error = tx_edit(tx, super, offsetof(struct fmt_super, arena));
	if (error != 0) {
		meta_abort(tx);
		return error;
	}
	fmt_feature_add(super, feature, PINFS_VERSION);
	return meta_commit(tx);
}

int meta_feature_use(struct meta *meta, enum fmt_feature feature)
{
	int error = 0;

	if ((atomic_load(&meta->features) >> feature & 1) != 0)
		return 0;
	lock_mutex_take(&meta->feature_lock);
	if ((atomic_load(&meta->features) >> feature & 1) == 0)
		error = add(meta, feature);
	if (error == 0)
		atomic_fetch_or(&meta->features, 1u << feature);
	lock_mutex_drop(&meta->feature_lock);
	return error;
}

unsigned meta_features(const struct meta *meta)
{
	return atomic_load(&meta->features);
}
