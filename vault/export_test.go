package vault

// MaxCachedKeys is the bound of the cache.
const MaxCachedKeys = cachedKeys

// CachedKeys returns how many keys are cached.
func (v *Vault) CachedKeys() int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return len(v.opened)
}
