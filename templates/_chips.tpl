% # What a list is narrowed by, in words. Wants: page.
% if page.chips:
<ul class="chips" aria-label="{{t("filter.active")}}">
%   for chip in page.chips:
  <li class="chip"><bdi>{{chip.words}}</bdi>
%     if chip.href:
    <a href="{{chip.href}}" aria-label="{{t("filter.remove", what=chip.words)}}">×</a>
%     end
  </li>
%   end
  <li><a href="{{page.action}}">{{t("filter.clear")}}</a></li>
</ul>
% end
