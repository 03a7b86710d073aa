% # What was there before a change and after it, field by field. Wants: differences.
% if differences:
<dl class="record changes">
%   for one in differences:
  <div>
    <dt>{{one.title}}</dt>
    <dd>
%     if one.parts:
      <p class="text">\\
%       for kind, text in one.parts:
%         if kind == "same":
{{text}}\\
%         elif kind == "gone":
<del><span class="visually-hidden">{{t("event.gone")}} </span>{{text}}</del>\\
%         else:
<ins><span class="visually-hidden">{{t("event.new")}} </span>{{text}}</ins>\\
%         end
%       end
</p>
      <details><summary>{{t("event.both")}}</summary>
        <h3>{{t("event.before")}}</h3><p class="text">{{one.before}}</p>
        <h3>{{t("event.after")}}</h3><p class="text">{{one.after}}</p>
      </details>
%     else:
%       if one.before:
      <p class="text"><del><span class="visually-hidden">{{t("event.was")}} </span><bdi>{{one.before}}</bdi></del></p>
%       end
%       if one.after:
      <p class="text"><ins><span class="visually-hidden">{{t("event.is")}} </span><bdi>{{one.after}}</bdi></ins></p>
%       end
%     end
    </dd>
  </div>
%   end
</dl>
% end
