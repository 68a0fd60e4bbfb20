//! Nothing: the dependency is wanted for its folder.
