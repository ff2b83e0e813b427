"""Flow control: pure state machines that slow Tidegate down before anything breaks."""
