"""What both commands share on a screen: words, streams, options, how errors are told."""
