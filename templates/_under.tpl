% # What stands under a list: how many rows there are, the pages, the other formats.
<div class="under">
  <p class="count">{{page.count}}</p>
% if page.first_href or page.previous_href or page.next_href:
  <nav class="pager" aria-label="{{t("table.pages")}}">
%   if page.first_href:
    <a class="button small" href="{{page.first_href}}" rel="first">{{t("table.first")}}</a>
%   end
%   if page.previous_href:
    <a class="button small" href="{{page.previous_href}}" rel="prev">{{t("table.previous")}}</a>
%   end
%   if page.next_href:
    <a class="button small" href="{{page.next_href}}" rel="next">{{t("table.next")}}</a>
%   end
  </nav>
% end
{{!page.ways}}
{{!getattr(page, "script", "")}}
</div>
