"""The statements of docs/fidelity.md, and the tests that show them; see tests/fidelity.py."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """A statement, the names in `segalias_jax` (or keys of a recipe) it is about, and its tests."""

    statement: str
    names: tuple[str, ...]
    tests: tuple[str, ...]


BAND, MIX, SCORES = "ops/test_fourier.py", "layers/test_freqmix.py", "metrics/test_boundary.py"
RANK, OFFSETS, LOSS = "ops/test_rank.py", "scoring/test_offsets.py", "losses/test_pixel.py"
CONFIGS, STEPS = "test_configs.py", "training/test_published_steps.py"

ROWS: dict[str, tuple[Row, ...]] = {
    "Definitions": (
        Row(
            "ESR = min(K, sqrt(C_out / C_in)) / s; Nyquist frequency ESR / 2",
            ("ops.equivalent_sampling_rate", "ops.nyquist_frequency"),
            (f"{BAND}::test_sampling_rates_of_the_paper",),
        ),
        Row(
            "each stage's own cutoff: sqrt(2)/4 of a ResNet's stage change",
            ("models.stage_nyquist_frequency",),
            (
                "models/test_stages.py::test_nyquist_frequency_follows_kernel_and_channels",
                "models/test_segmenter.py::test_cutoff_comes_from_the_equivalent_sampling_rate",
            ),
        ),
        Row(
            "aliasing score: power outside the square band over all power, DC in the total",
            ("ops.aliasing_score",),
            (
                f"{BAND}::test_score_of_a_sinusoid",
                f"{BAND}::test_score_of_white_noise_is_the_share_outside",
                f"{BAND}::test_score_of_nothing_is_zero_and_channels_weigh_by_power",
            ),
        ),
        Row(
            "de-aliasing filter: transform, zero outside the band, transform back",
            ("ops.low_pass", "layers.DeAliasingFilter"),
            (
                f"{BAND}::test_both_methods_equal_the_definition",
                f"{BAND}::test_symmetric_low_pass_is_a_projection",
                "layers/test_dealias.py::test_filter_is_the_low_pass",
            ),
        ),
        Row(
            "the three errors, BIoU and BAcc: 1 - mean class accuracy, IoU and accuracy in bands",
            ("metrics.SegmentationScores",),
            (
                f"{SCORES}::test_scores_are_those_of_five_plain_passes",
                "metrics/test_counts.py::test_bands_are_unions_of_regions",
            ),
        ),
    ),
    "What the published code computes: the filter": (
        Row(
            "bounds round(n/2 -+ n f), halves to even, in double precision, at every length",
            ("ops.band_bounds",),
            (
                f"{BAND}::test_published_bounds",
                "ops/test_bands.py::test_reference_bounds_at_every_length",
            ),
        ),
        Row(
            "the recorded filter and its gradient, any size",
            ("ops.low_pass",),
            (f"{BAND}::test_published_filter",),
        ),
        Row(
            "the real part is C_h x C_w' - S_h x S_w', or the symmetrized mask",
            ("ops.bands.band_matrix", "ops.bands.odd_factors", "ops.bands.half_plane_mask"),
            (
                "ops/test_bands.py::test_matrix_and_factors_are_the_operator",
                "ops/test_bands.py::test_half_plane_mask_is_symmetric",
            ),
        ),
        Row(
            "it sits at the input of stages 2 to 4; decoders get unfiltered features",
            ("models.ResNet",),
            (
                "models/test_segmenter.py::test_where_filters_and_mixers_sit",
                "models/test_resnet.py::test_published_network",
            ),
        ),
    ),
    "What the published code computes: FreqMix": (
        Row(
            "outputs and gradients of the recorded module: corner gate, roll by C//2, complex band",
            ("layers.FreqMix",),
            (f"{MIX}::test_published_module",),
        ),
        Row(
            "the roll goes into the first weights of the channel gates",
            ("torch_weights.names.to_torch",),
            ("torch_weights/test_names.py::test_the_published_gate_reads_its_input_rolled",),
        ),
        Row(
            "no sample gates another one (the published roll along the batch is not reproduced)",
            ("layers.FreqMix",),
            (f"{MIX}::test_no_sample_influences_another",),
        ),
        Row(
            "gates by energy and magnitude: of the band's spectrum",
            ("layers.FreqMix",),
            (f"{MIX}::test_energy_and_magnitude_are_those_of_the_spectrum",),
        ),
        Row(
            "383,450 parameters on ResNet-50, 749,596 on ResNet-101, 1,318,682 at reduction 4",
            ("layers.FreqMix",),
            (f"{MIX}::test_parameter_count_of_the_paper",),
        ),
        Row(
            "published gates start from PyTorch's default draws",
            ("model.mixer_start",),
            (f"{MIX}::test_published_gates_start_as_pytorch_does",),
        ),
        Row(
            "the spatial or the channel part alone",
            ("model.mixer_parts",),
            (f"{MIX}::test_one_part_alone_is_the_equation_without_the_other",),
        ),
        Row(
            "a cutoff apart from the filter's",
            ("model.mixer_cutoff",),
            ("models/test_stages.py::test_mixers_have_a_cutoff_parts_and_a_start_of_their_own",),
        ),
        Row(
            "a bottleneck of stride 2 with FreqMix: outputs, gradients, running statistics",
            ("models.blocks.Bottleneck",),
            ("models/test_resnet.py::test_published_bottleneck",),
        ),
    ),
    "What the published code computes: scores": (
        Row(
            "boundaries: the Laplacian of ids, reflected at borders, dilated by 15x15",
            ("ops.label_boundary", "ops.boundary_band"),
            (
                "ops/test_morphology.py::test_recorded_edges_and_bands",
                "ops/test_morphology.py::test_laplacian_is_that_of_opencv",
            ),
        ),
        Row(
            "it misses ids that cancel, depends on numbering, and sees ignored pixels; the rules "
            '"exact" and "exclude" do not',
            ("metrics.ScoreRules",),
            (
                "ops/test_morphology.py::test_laplacian_misses_what_cancels_and_exact_does_not",
                "ops/test_morphology.py::test_ignored_pixels_make_no_boundary_when_excluded",
                f"{SCORES}::test_class_numbering_does_not_matter_to_the_exact_rule",
            ),
        ),
        Row(
            "counts and scores of recorded pairs, on the device",
            ("metrics.SegmentationScores",),
            (
                f"{SCORES}::test_recorded_counts_hold_exactly",
                f"{SCORES}::test_recorded_scores_hold",
            ),
        ),
        Row(
            "the same on the host",
            ("scoring.score_folders",),
            (
                "scoring/test_counting.py::test_recorded_counts_hold",
                "scoring/test_folders.py::test_recorded_scores_hold",
            ),
        ),
        Row(
            "ADE20K: 0 has become 255 before boundaries are drawn from ids 1 to 150",
            ("metrics.ScoreRules.boundary_label",),
            (
                f"{SCORES}::test_zero_becomes_255_before_boundaries_are_drawn",
                "scoring/test_host_bands.py::test_zero_labels_make_boundaries_as_the_ignored_label",
            ),
        ),
    ),
    "What the published code computes: model and recipe": (
        Row(
            "names and shapes of all weights; 31,156,742 parameters of the baseline",
            ("torch_weights.names.key_table",),
            (
                "torch_weights/test_names.py::test_names_and_shapes_are_the_published_ones",
                "models/test_segmenter.py::test_published_parameter_counts",
            ),
        ),
        Row(
            "features, heads and logits of small and full networks, align_corners off and on",
            ("models.create_model",),
            (
                "models/test_resnet.py::test_published_network",
                "models/test_published.py::test_full_network",
            ),
        ),
        Row(
            "three updates of SGD: losses over all pixels, auxiliary weight 0.4, decay, statistics",
            ("training.step.create_train_step",),
            (f"{STEPS}::test_three_updates",),
        ),
        Row(
            "statistics of a distributed batch are those of the whole batch",
            ("layers.BatchNorm",),
            ("layers/test_conv.py::test_statistics_of_a_sharded_batch_are_global",),
        ),
        Row(
            "learning rates: poly 0.9 to 1e-4, warm-up over 200 steps from 0.1",
            ("training.schedules.create_schedule",),
            (
                "training/test_schedules.py::test_rates_equal_the_recorded_ones_for_both_multipliers",
            ),
        ),
        Row(
            "twice the rate of heads and gates; decay of every parameter",
            ("optimizer.rate_multipliers",),
            (
                "training/test_optimizer.py::test_doubled_parameters_are_the_recorded_ones",
                "training/test_optimizer.py::test_weight_decay_acts_on_every_parameter_as_recorded",
                f"{CONFIGS}::test_rates_of_the_published_network_are_the_recorded_ones",
            ),
        ),
        Row(
            "Cityscapes, also `daf,flc` (the filter at cutoff 1/4)",
            ("recipes.cityscapes",),
            (f"{CONFIGS}::test_cityscapes_is_the_published_recipe",),
        ),
        Row(
            "VOC 2012 and ADE20K, without warm-up; `voc2012:published` has reduction 4",
            ("recipes.voc2012", "recipes.ade20k"),
            (f"{CONFIGS}::test_other_published_recipes",),
        ),
        Row(
            "training transforms: their order, ranges and padding",
            ("data.transforms",),
            (
                "data/test_transforms.py::test_training_transforms_are_the_published_recipe",
                "data/test_geometry.py::test_crops_respect_the_largest_share",
                "data/test_geometry.py::test_crop_gives_up_after_ten_windows",
                "data/test_appearance.py::test_photometric_distortion_draws_from_the_published_ranges",
            ),
        ),
        Row(
            "windows and sizes of the test, flipped images, an image smaller than the window",
            ("evaluation.sliding",),
            (
                "evaluation/test_sliding.py::test_published_windows",
                "evaluation/test_views.py::test_published_sizes",
            ),
        ),
        Row(
            "FrequencyLowCut: the recorded crop with gain 4; int(n/4) : int(3n/4) at every length "
            "(each bin at its frequency, also at n = 4 j + 2)",
            ("ops.frequency_low_cut", "ops.bands.low_cut_bounds"),
            (
                "layers/test_dealias.py::test_published_low_cut",
                "layers/test_dealias.py::test_low_cut_of_the_published_bins_at_any_size",
                "ops/test_bands.py::test_reference_bounds_at_every_length",
            ),
        ),
        Row(
            "binomial and adaptive blur",
            ("layers.BlurPool", "layers.AdaptiveBlur"),
            (
                "ops/test_blur.py::test_published_blur",
                "layers/test_dealias.py::test_published_adaptive_blur",
            ),
        ),
        Row(
            "further loss terms on the decode head only, where a recipe says so",
            ("loss.auxiliary_terms",),
            ("losses/test_mixture.py::test_auxiliary_heads_may_have_terms_of_their_own",),
        ),
    ),
    "The paper's analysis": (
        Row(
            "noise of the robustness table: fractions cut off, as published",
            ("evaluation.aliasing.robustness",),
            (
                "evaluation/aliasing/test_robustness.py::test_published_noise_cuts_fractions_off",
                "evaluation/aliasing/test_robustness.py::"
                "test_noise_has_its_sigma_and_is_the_same_for_every_batch_size",
            ),
        ),
        Row(
            "orthogonality: mean |cos| between the filters of downsampling operators",
            ("analysis.orthogonality",),
            (
                "analysis/test_filters.py::test_random_filters_are_as_alike_as_their_length_says",
                "analysis/test_filters.py::test_resnet_lists_what_strides",
            ),
        ),
        Row(
            "figure 2: disjoint kinds of error by the aliasing scores of their patches",
            ("evaluation.aliasing.kinds.score_distributions",),
            (
                "evaluation/aliasing/test_kinds.py::test_distributions_pixel_by_pixel",
                "evaluation/aliasing/test_kinds.py::test_displacements_at_high_scores_are_found",
            ),
        ),
        Row(
            "scores of polyps as means over both classes, of images and over pixels",
            ("metrics.BinaryScores",),
            (
                "metrics/test_binary.py"
                "::test_scores_of_both_classes_are_means_of_two_binary_scores",
                "metrics/test_binary.py"
                "::test_where_one_class_is_predicted_iou_of_both_is_half_the_accuracy",
            ),
        ),
    ),
    "Other methods": (
        Row(
            "low pass by a ratio of the spectrum, F^-1(M(r) F(x)); 0 keeps the mean",
            ("ops.ratio_low_pass",),
            ("ops/test_ratio.py::test_equals_a_masked_transform_in_one_program",),
        ),
        Row(
            "ratio fixed, or linear from 1 to a final ratio, 0 too",
            ("training.curriculum",),
            (
                "training/test_curriculum.py::test_courses_follow_their_closed_forms",
                f"{CONFIGS}::test_words_of_the_frequency_curriculum",
            ),
        ),
        Row(
            "U-Net of the polyps: 200 epochs, batch 16, Adam 1e-4, cosine to 1e-6",
            ("recipes.kvasir_unet", "recipes.cvc_clinicdb_unet"),
            (f"{CONFIGS}::test_unet_has_the_published_setting",),
        ),
        Row(
            "choice of the ratio: the objective's least value",
            ("analysis.optimal_frequency_ratio",),
            ("analysis/test_frequency_ratio.py::test_equals_brute_force_on_twenty_images",),
        ),
        Row(
            "TV(low) + TV(high) >= TV(x), equal at both ends",
            ("analysis.total_variation",),
            ("analysis/test_objective.py::test_variation_of_both_bands_is_least_at_both_ends",),
        ),
        Row(
            "weighted cross-entropy: least at a p / (1 - p + a p); a = (1 - p) / p balances",
            ("losses.LOSSES",),
            (
                f"{LOSS}::test_weighted_loss_is_least_where_theory_says",
                f"{LOSS}::test_balanced_weights_let_both_classes_weigh_the_same",
            ),
        ),
        Row(
            "median: a flipped pixel survives with sum C(9, k) p^k (1 - p)^(9 - k); a box blur "
            "moves by p",
            ("ops.median_filter", "layers.MedianFilter"),
            (
                f"{RANK}::test_equals_sorted_windows",
                f"{RANK}::test_flipped_pixels_survive_as_often_as_theory_says",
                f"{RANK}::test_flipped_pixels_move_a_box_filter_as_far_as_theory_says",
            ),
        ),
        Row(
            "decoders by zeros, replication and transposed convolution, and their checkerboards",
            ("layers.UpConv", "ops.checkerboard_score"),
            (
                "layers/test_upsample.py::test_which_methods_leave_a_checkerboard",
                "ops/test_upsample.py::test_score_of_a_transposed_convolution",
            ),
        ),
        Row(
            "IoU of a mask shifted up by 1 to 20 of 136 rows, the last ones kept",
            ("scoring.offsets.count_offsets",),
            (
                f"{OFFSETS}::test_a_radar_mask_shifted_up_by_1_to_20_of_136_rows",
                f"{OFFSETS}::test_directions_and_edges_equal_pixels_moved_by_hand",
            ),
        ),
    ),
}

NOT_SHOWN = (
    "Published mIoU, BIoU, BAcc, FErr, MErr and DErr of trained networks, with any filter or "
    "cutoff: they need the data sets and days of GPUs.",
    "Published aliasing scores, orthogonality and robustness of trained networks: what "
    "computes them is shown above, the weights are not here.",
    "Published scores of polyps, and the best final ratio: recipes and scores are here, "
    "trainings of 200 epochs are not.",
    "The published table of offsets: its radar images are not here; a mask of the same height "
    "stands for them.",
    "Costs of the published code in hours and milliseconds.",
    "Weights of the published checkpoints: names and shapes are shown above, and outputs by "
    "recorded weights.",
    "Quantizing and dithering of radar images.",
    "What is a defect there: the leak along the batch, options that nothing reads, and in "
    "FrequencyLowCut the shift back of a crop whose zero frequency is not in its middle "
    "(lengths of 4 j + 2).",
)
"""What of the published method the list does not claim."""
