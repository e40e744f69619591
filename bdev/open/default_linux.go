package open

// defaultScheme is what a bare path means.
const defaultScheme = schemeAIO
